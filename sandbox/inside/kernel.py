"""The few Linux calls that Python 3.11 does not wrap, through ctypes. Every failure is an OSError."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import struct
import time
from collections.abc import Callable

NEWNS, NEWCGROUP, NEWUTS, NEWIPC = 0x20000, 0x02000000, 0x04000000, 0x08000000
NEWUSER, NEWPID, NEWNET = 0x10000000, 0x20000000, 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
MNT_DETACH = 2

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = (
    1,
    4,
    22,
    36,
    38,
)
_CLONE = {"x86_64": 56, "aarch64": 220}
_SECCOMP_MODE_FILTER = 2
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_CAPABILITY_VERSION = 0x20080522
_ABOVE_STREAMS = 16

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
_libc.prctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong)
CAP_KILL, CAP_SETGID, CAP_SETUID = 5, 6, 7


def _check(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def syscall(number: int, *args: int | bytes | None, what: str) -> int:
    converted = [ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args]
    return _check(int(_libc.syscall(ctypes.c_long(number), *converted)), what)


def above_streams(fd: int) -> int:
    """Move a descriptor off the lowest numbers, on which a child puts its streams; return the new one."""
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _ABOVE_STREAMS)
    os.close(fd)
    return moved


def unshare(flags: int) -> None:
    _check(_libc.unshare(flags), f"unshare({flags:#x})")


def fork_unwaited(flags: int) -> int:
    """Fork into the new namespaces of ``flags``; return the child's id, and 0 in the child.

    The child sends no signal when it ends, so waiting for any child passes over it. Python and the C library do
    not learn of the fork: it may do nothing but call the kernel.
    """
    return syscall(_CLONE[os.uname().machine], flags, None, None, None, None, what=f"clone({flags:#x})")


class Core:
    """Keeps forks on the core of the runner, whose caches hold what they will touch.

    The scheduler would place each on the idlest core, which costs more than a short program.
    """

    def __init__(self) -> None:
        self.every = os.sched_getaffinity(0)
        self._each = {cpu: {cpu} for cpu in self.every}

    def share(self, server: int) -> None:
        """Keep a fork server on the core of this process. Its forks must leave it before what may take long."""
        with contextlib.suppress(OSError):  # without the capability for a server of another user; or it is gone
            os.sched_setaffinity(server, self._each.get(_libc.sched_getcpu(), self.every))


def setns(fd: int, flags: int) -> None:
    _check(_libc.setns(fd, flags), "setns")


def mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    Mount(source, target, kind, flags, options).do()


class Mount:
    """A mount with its arguments encoded in advance: a fork that does little touches little memory."""

    def __init__(self, source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
        self._arguments = (
            source.encode(),
            target.encode(),
            None if kind is None else kind.encode(),
            flags,
            options.encode(),
        )

    def do(self) -> None:
        """Make the mount. Raises OSError naming the target."""
        if _libc.mount(*self._arguments) < 0:
            _check(-1, f"mount {self._arguments[1].decode()}")


def detach(target: str) -> None:
    _check(_libc.umount2(target.encode(), MNT_DETACH), f"umount {target}")


def pivot_root(new: str, old: str) -> None:
    syscall(_PIVOT_ROOT[os.uname().machine], new.encode(), old.encode(), what="pivot_root")


def _prctl(option: int, value: int, what: str) -> None:
    _check(_libc.prctl(option, value, None, 0, 0), what)


def die_with_parent() -> None:
    """Have this process killed when the thread that started it ends. Every change of identity resets it."""
    _prctl(_PR_SET_PDEATHSIG, 9, "prctl PDEATHSIG")


def hide_memory() -> None:
    """Keep processes without capabilities, even of the same user, from tracing this one or reading its /proc."""
    _prctl(_PR_SET_DUMPABLE, 0, "prctl DUMPABLE")


def adopt_orphans() -> None:
    _prctl(_PR_SET_CHILD_SUBREAPER, 1, "prctl CHILD_SUBREAPER")


def no_new_privileges() -> None:
    _prctl(_PR_SET_NO_NEW_PRIVS, 1, "prctl NO_NEW_PRIVS")


def keep_capabilities(*kept: int) -> None:
    """Drop all capabilities of this thread but those, which nothing that it executes inherits."""
    mask = sum(1 << each for each in kept)
    sets = struct.pack("6I", mask, mask, 0, 0, 0, 0)  # effective, permitted and inheritable; and the same above 31
    _check(_libc.capset(struct.pack("Ii", _CAPABILITY_VERSION, 0), sets), "capset")


class Filter:
    """A seccomp program in the form that the kernel takes. ``own_id`` stands in it for the id of its process."""

    def __init__(self, program: bytes, own_id: int) -> None:
        constants = range(4, len(program), 8)
        self._own_ids = [at for at in constants if struct.unpack_from("I", program, at)[0] == own_id]
        self._code = ctypes.create_string_buffer(program, len(program))
        self._descriptor = ctypes.create_string_buffer(
            struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(self._code))
        )

    def install(self) -> None:
        """Apply the program to this thread, irrevocably."""
        self.installer()()

    def installer(self) -> Callable[[], None]:
        """Return a function that installs it and touches little memory, for forks."""
        words = memoryview(self._code).cast("B").cast("I")
        places = tuple(at // words.itemsize for at in self._own_ids)
        prctl, getpid = _libc["prctl"], os.getpid
        arguments = (
            ctypes.c_int(_PR_SET_SECCOMP),
            ctypes.c_ulong(_SECCOMP_MODE_FILTER),
            ctypes.c_void_p(ctypes.addressof(self._descriptor)),
            ctypes.c_ulong(0),
            ctypes.c_ulong(0),
        )

        def install() -> None:
            own_id = getpid()
            for place in places:
                words[place] = own_id
            if prctl(*arguments) < 0:
                _check(-1, "prctl SECCOMP")

        return install


def process_cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process has used. Raises OSError once it has been reaped."""
    return time.clock_gettime((~pid << 3) | 2)
