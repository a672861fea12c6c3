"""These tests measure with what stands in the folders of other tests: expressions' evaluation, oracles, variants."""

import sys
from pathlib import Path

sys.path.extend(str(Path(__file__).resolve().parents[1] / folder) for folder in ("algebra", "methods", "running"))
