"""Overlord: a proxy that makes many Redis or memcached servers look like one, and its platform."""

__version__ = "0.1.0"
