"""Landlock: file access for the level that cannot mount. Linux 5.13 or newer."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Sequence

from sandbox.inside import kernel

_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446  # the same numbers on every architecture
_RULE_PATH_BENEATH = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _TRUNCATE, _IOCTL_DEV = 1, 2, 4, 8, 1 << 14, 1 << 15
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_READ = _READ_FILE | _READ_DIR


def abi() -> int:
    """Return the kernel's Landlock version. Raises OSError where there is none."""
    return kernel.syscall(_CREATE, None, 0, 1, what="Landlock")


def _handled(version: int) -> int:
    bits = 13 + (version >= 2) + (version >= 3) + (version >= 5)
    return (1 << bits) - 1


def ruleset(readable: list[str], writable: list[str], executable: Sequence[str] = ()) -> int:
    """Create a ruleset that allows reading ``readable`` and all but execution in ``writable``; return its fd.

    Of ``executable``, files, reading and execution are allowed.
    """
    version = abi()
    handled = _handled(version)
    rules = _create(version, handled)
    allowed = ((readable, _READ), (writable, handled & ~_EXECUTE), (executable, _READ_FILE | _EXECUTE))
    for paths, access in allowed:
        for path in paths:
            _allow(rules, path, access & handled)
    return rules


def without_files(executable: Sequence[str] = ()) -> int:
    """Create a ruleset against execution, TCP, abstract sockets and signals, for files that mounts protect.

    The files ``executable`` may be executed.
    """
    rules = _create(abi(), _EXECUTE)
    for path in executable:
        _allow(rules, path, _EXECUTE)
    return rules


def _create(version: int, handled: int) -> int:
    attributes = struct.pack("<Q", handled)
    if version >= 4:
        attributes += struct.pack("<Q", 0b11)  # TCP bind and connect
    if version >= 6:
        attributes += struct.pack("<Q", 0b11)  # abstract unix sockets and signals
    return kernel.above_streams(kernel.syscall(_CREATE, attributes, len(attributes), 0, what="Landlock ruleset"))


def _allow(rules: int, path: str, access: int) -> None:
    target = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(target).st_mode):
            access &= _ON_FILES
        rule = struct.pack("<Qi", access, target)
        kernel.syscall(_ADD_RULE, rules, _RULE_PATH_BENEATH, rule, 0, what=f"Landlock rule {path}")
    finally:
        os.close(target)


def restrict(rules: int) -> None:
    """Apply a ruleset to this thread, irrevocably. Needs no_new_privs."""
    kernel.syscall(_RESTRICT, rules, 0, what="Landlock restrict")
