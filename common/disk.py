"""Files and folders that are replaced as a whole, and disks that are full."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from common.errors import UserError


class DiskFullError(UserError, RuntimeError):
    """Something that a disk has no room for; the message names it."""


def says_full(error: Exception) -> bool:
    """Return whether an error says that the disk is full. A RuntimeError of torch may mean just that."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return isinstance(error, SafetensorError) and f"os error {errno.ENOSPC}" in str(error)


@contextmanager
def room_for(what: str, target: Path) -> Iterator[None]:
    """Raise :class:`DiskFullError` where the block finds the disk of ``target`` full."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        if not says_full(error):
            raise
        raise DiskFullError(
            f"{target}: the disk has no room for {what}; make room (a run then goes on with --resume auto)"
        ) from error


@contextmanager
def replaced_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of ``target`` once it is filled; nothing is left of a failure."""
    temporary = target.with_name(f".{target.name}.tmp")
    retired = target.with_name(f".{target.name}.old")
    for left_over in (temporary, retired):  # of a process that was killed
        shutil.rmtree(left_over, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if target.exists():
            target.rename(retired)
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(retired, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Replace a file's text in one step."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
