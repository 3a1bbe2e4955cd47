"""The page of records says what the classes say."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[4]


def test_the_page_of_records_is_up_to_date() -> None:
    """After a change: python docs/generate_records.py > docs/records.md."""
    script = ROOT / "docs" / "generate_records.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)

    assert done.stdout == (ROOT / "docs" / "records.md").read_text()
