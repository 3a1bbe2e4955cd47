"""The transports and listeners that the proxy runs on. Knows no command and no key."""

LINGER_SECONDS = 1.0
"""How long a closed peer may go on sending before it is cut off, so that it can read why it was closed."""
