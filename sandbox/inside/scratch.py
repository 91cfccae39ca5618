"""The folder that programs write to, and whether one did: only then is it cleaned before the next program.

An untouched folder bears a mark, a time of modification of zero. Whatever is made or removed in it wipes the mark,
and only the owner of the folder may set it again.
"""

from __future__ import annotations

import os
import stat

from sandbox.inside import kernel

TMP = "/tmp"
_MODE = 0o1777
_FLAGS = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC


def mark(folder: str) -> None:
    """Mark an empty folder as untouched. Raises OSError."""
    os.utime(folder, (0, 0))


def is_untouched(folder: str) -> bool:
    """Return whether nothing was made or removed in the folder since it was marked. Raises OSError."""
    return os.stat(folder).st_mtime_ns == 0


class Tmpfs:
    """``/tmp`` in memory, of so many bytes and files, in a mount namespace that outlives programs.

    Where the program has the folder owner's uid and could set the mark, what it leaves still shows in the number
    of files.
    """

    def __init__(self, size: int, files: int) -> None:
        self._space = (size, files)
        self._mount = kernel.Mount("tmp", TMP, "tmpfs", _FLAGS, f"size={size},nr_inodes={files},mode={_MODE:o}")

    def begin(self) -> None:
        """Mount it where none is yet. Raises OSError."""
        self._mount.do()
        mark(TMP)

    def renew(self) -> None:
        """Mount it anew, unless what is there is as new and of this size. Raises OSError."""
        if not self.is_as_new():
            kernel.detach(TMP)
            self.begin()

    def is_as_new(self) -> bool:
        """Return whether what is mounted has this size and nothing was ever in it. Raises OSError."""
        folder, space = os.stat(TMP), os.statvfs(TMP)
        only_the_folder = space.f_files - 1
        return (
            (space.f_blocks * space.f_frsize, space.f_files) == self._space
            and space.f_ffree == only_the_folder
            and folder.st_mtime_ns == 0
            and folder.st_mode == stat.S_IFDIR | _MODE
        )
