"""Overlord: a proxy that makes many Redis servers look like one."""

__version__ = "0.1.0"
