"""Codecs: bytes in, frames out, and back. No I/O, no Twisted."""
