"""What stops a measurement."""


class BenchError(Exception):
    """A scenario cannot be measured; the message says what happened, and to which program."""
