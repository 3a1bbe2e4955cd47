"""The transports and listeners that the proxy runs on. Knows no command and no key."""
