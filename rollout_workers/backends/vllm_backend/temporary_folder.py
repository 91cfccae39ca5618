"""The folder with the files of a start of vLLM, which is removed also where its owner was killed.

The owner holds a lock on it, which ends with the owner, whatever ends that; whoever makes the next folder removes
those that nobody holds.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir, mkdtemp

_PREFIX = "couplet-vllm-"


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Make a folder for the length of the context, and remove what killed owners of others left."""
    for left in Path(gettempdir()).glob(f"{_PREFIX}*"):
        if (lock := _locked(left)) is not None:
            shutil.rmtree(left, ignore_errors=True)
            os.close(lock)
    folder, lock = _made()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _made() -> tuple[Path, int]:
    while True:
        folder = Path(mkdtemp(prefix=_PREFIX))
        lock = _locked(folder)
        if lock is not None:  # else somebody took it for a folder that was left, and removes it
            return folder, lock


def _locked(folder: Path) -> int | None:
    """Lock a folder until the returned descriptor is closed; None where it is held, gone or another user's."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
