"""Makes `bench` importable: it is no part of the package that is installed and tested."""

import sys
from pathlib import Path

# At the end of the path, so that `overlord` remains the one that is installed.
sys.path.append(str(Path(__file__).parents[3]))
