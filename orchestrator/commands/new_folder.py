"""The folder of a command's results, which must be new."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from common.errors import UserError


def new_folder(output: Path | None, name: str) -> Path:
    """Return the folder that ``--output`` names, by default ``runs/<name>-<time>``; it is not made yet.

    Raises UserError where it exists.
    """
    folder = output or Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    if folder.exists():
        raise UserError(f"--output {folder}: exists already; name a new folder")
    return folder
