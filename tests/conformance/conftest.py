"""The fixtures that `integration/conftest.py` names: one list serves both."""

from integration.conftest import *  # noqa: F403  # its __all__ is the list
