"""Where requests meet nodes."""
