"""The dependencies of this environment, for environments that tests make."""

from __future__ import annotations

import sys
from pathlib import Path


def packages_folders() -> list[Path]:
    """The folders of installed packages that this interpreter searches, in order."""
    return [Path(entry) for entry in sys.path if entry.endswith(("site-packages", "dist-packages"))]
