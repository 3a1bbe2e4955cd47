"""The proxy's whole decision, without I/O: client bytes in, node bytes out, and back."""
