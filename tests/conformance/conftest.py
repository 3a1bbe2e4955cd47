"""The fixtures that `integration/conftest.py` names: one list serves both."""

import shutil

import pytest
from conformance.npm import NodeJs, node_js
from integration.conftest import *  # noqa: F403  # its __all__ is the list


@pytest.fixture(scope="module")
def node() -> NodeJs:
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("there is no Node.js with npm here (the soak installs it)")
    return node_js()
