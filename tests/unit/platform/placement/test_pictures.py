"""The pictures of docs/placement.md show what the code plans."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
DOCS = ROOT / "docs"


def script():
    spec = importlib.util.spec_from_file_location("pictures", DOCS / "placement_pictures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(not DOCS.is_dir(), reason="the documents are not here")
def test_pictures_are_current():
    """If not: python docs/placement_pictures.py, and look at what has changed."""
    written = {file.name: file.read_text() for file in (DOCS / "placement").glob("*.svg")}

    assert written == script().pictures()


@pytest.mark.skipif(not DOCS.is_dir(), reason="the documents are not here")
def test_the_page_shows_every_picture_and_every_refusal():
    from overlord.platform.placement import Reason, Risk

    page = (DOCS / "placement.md").read_text()

    assert [name for name in script().pictures() if f"](placement/{name})" not in page] == []
    assert [reason for reason in Reason if f"`{reason.name}`" not in page] == []
    assert [risk for risk in Risk if f"`{risk.name}`" not in page] == []
