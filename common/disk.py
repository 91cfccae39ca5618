"""Disks that are full."""

from __future__ import annotations

import errno
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
