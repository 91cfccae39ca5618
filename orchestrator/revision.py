"""Which code produced a result."""

from __future__ import annotations

import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_SECONDS = 10.0


@cache
def code_revision() -> str:
    """Return the commit of the clone that this code lies in, with ``-dirty`` if changed; else the release."""
    if (_ROOT / ".git").exists():
        command = ["git", "-C", str(_ROOT), "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"]
        try:
            found = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)
        except (OSError, subprocess.SubprocessError):
            pass  # without git, or in a clone of somebody else's
        else:
            return found.stdout.strip()
    try:
        return version("couplet-rl")
    except PackageNotFoundError:
        return "unknown"
