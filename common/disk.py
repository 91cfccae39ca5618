"""Files and folders that are replaced as a whole, and disks that take no more."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from common.errors import UserError


class DiskError(UserError, RuntimeError):
    """Something that cannot be written, for lack of room, of permission or of its folder; the message names it."""


_FULL = (errno.ENOSPC, errno.EDQUOT)
_REMEDIES = {
    **dict.fromkeys(_FULL, "make room"),
    errno.EROFS: "make it writable again",
    errno.EACCES: "give this user the right to write there",
    errno.EPERM: "give this user the right to write there",
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR, errno.ESTALE), "bring its folder back"),
}
_AGAIN = "(a run then goes on with --resume auto)"


def says_full(error: Exception) -> bool:
    """Return whether an error says that the disk is full. A RuntimeError of torch may mean just that."""
    if isinstance(error, OSError):
        return error.errno in _FULL
    return isinstance(error, SafetensorError) and f"os error {errno.ENOSPC}" in str(error)


def disk_error(what: str, target: Path, error: Exception) -> DiskError:
    """Say what could not be written where, why, and what to do about it."""
    if says_full(error):
        return DiskError(f"{target}: the disk has no room for {what}; make room {_AGAIN}")
    number = error.errno if isinstance(error, OSError) else None
    remedy = _REMEDIES.get(number or 0, "see what is wrong with the disk")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return DiskError(f"{target}: {what} cannot be written: {reason}; {remedy} {_AGAIN}")


@contextmanager
def writing(what: str, target: Path) -> Iterator[None]:
    """Raise :class:`DiskError` where the block cannot write ``what`` to ``target``, a file, or into it, a folder.

    An error about a file elsewhere, such as one that is read, stays what it is.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        named = error.filename if isinstance(error, OSError) else None
        if isinstance(named, str) and not Path(named).is_relative_to(target.parent):
            raise
        raise disk_error(what, target, error) from error


def why_unwritable(folder: Path) -> OSError | None:
    """Return what keeps a file from being written into ``folder``, None where nothing does."""
    probe = folder / f".{os.getpid()}.probe"
    try:
        probe.write_bytes(b"\0")
    except OSError as error:
        return error.with_traceback(None)  # else it would keep frames, and the open files in them
    finally:
        with suppress(OSError):
            probe.unlink()
    return None


def append_line(path: Path, line: str) -> None:
    """Add a line to a file as a whole: of a failure, which raises OSError, nothing is left in it."""
    data = memoryview(f"{line}\n".encode())
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        size = os.fstat(descriptor).st_size
        try:
            while data:
                data = data[os.write(descriptor, data) :]
        except OSError:
            os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)


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
    """Replace a file's text in one step; of a failure, which raises OSError, nothing is left."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise
