"""Clean-up between programs where there are no namespaces: end the slot's processes and empty its folder."""

from __future__ import annotations

import contextlib
import os
import signal

_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def clean(uids: list[int], folder: str) -> bool:
    """End all processes of ``uids`` and empty the folder, which is the first one's; return whether that worked."""
    swept = [_as_owner(uid, folder if uid == uids[0] else None) for uid in uids]
    with contextlib.suppress(ChildProcessError):  # nobody left
        while os.waitpid(-1, 0)[0]:
            pass
    return all(swept)


def empty(folder: str) -> None:
    """Remove everything in a folder that nobody else uses any more. Raises OSError.

    A hostile tree may be deeper than any path or stack is long, so folders are moved up before they are taken
    apart.
    """
    if os.lstat(folder).st_uid == os.geteuid():  # a container's /tmp is root's, whom nothing locks out
        os.chmod(folder, 0o700)
    top = os.open(folder, _OPEN_FOLDER)
    try:
        while names := os.listdir(top):
            for name in names:
                if not _unlinked(name, top):
                    _take_apart(name, top)
    finally:
        os.close(top)


def _take_apart(name: str, top: int) -> None:
    inner = os.open(name, _OPEN_FOLDER, dir_fd=top)
    try:
        for child in os.listdir(inner):
            if not _unlinked(child, inner):
                os.rename(child, f".{os.urandom(16).hex()}", src_dir_fd=inner, dst_dir_fd=top)
    finally:
        os.close(inner)
    os.rmdir(name, dir_fd=top)


def _unlinked(name: str, folder: int) -> bool:
    """Unlink a file. Return False for a folder, which its owner may then enter and move."""
    try:
        os.unlink(name, dir_fd=folder)
    except IsADirectoryError:
        os.chmod(name, 0o700, dir_fd=folder)
        return False
    return True


def _as_owner(uid: int, folder: str | None) -> bool:
    """Clean up in a fork with the slot's own identity, so that file names never enter the runner's heap."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            with contextlib.suppress(ProcessLookupError):  # nobody left
                os.kill(-1, signal.SIGKILL)
            if folder is not None:
                empty(folder)
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1] == 0
