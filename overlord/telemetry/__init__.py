"""Where log events and numbers go. Knows nothing of what they are about."""
