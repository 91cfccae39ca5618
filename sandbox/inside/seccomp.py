"""The seccomp programs: an allow-list for single-process Python with threads, as classic BPF.

There are two, as the kernel takes long to install a long one: the server that programs are forks of installs the
list and what it needs itself, and each fork a short one that takes the latter away. The kernel asks both and takes
the stricter answer.

Default answer EPERM. ``clone`` may only make threads, so there is no process bomb and no daemon to clean up;
``clone3`` answers ENOSYS because only that makes libc fall back to ``clone``. A foreign architecture is
killed. ``socketpair`` is stream only: a datagram pair could send to any named unix socket of the host. Signals
and limits are for the process itself: others of the same user may be in sight.
"""

from __future__ import annotations

import errno
import os
import struct

from sandbox.inside import syscalls

_LOAD, _AND, _JUMP, _JEQ, _JGT, _JGE, _JSET, _RET = 0x20, 0x54, 0x05, 0x15, 0x25, 0x35, 0x45, 0x06
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_NR, _ARCH, _ARG0, _ARG1, _ARG4 = 0, 4, 16, 24, 48
_CLONE_THREAD, _CLONE_NAMESPACES = 0x10000, 0x7E020080
_AF_UNIX, _SOCK_STREAM, _SOCK_TYPE_MASK = 1, 1, 0xF
_AT_EMPTY_PATH = 0x1000
_PRCTL = (15, 16, 0x53564D41)  # SET_NAME, GET_NAME, SET_VMA
_PRCTL_OF_SERVERS = (1, 22)  # SET_PDEATHSIG, SET_SECCOMP
_FREE_TO_SERVERS = (
    *("recvmsg", "memfd_create", "sched_setaffinity", "setresuid", "setresgid"),
    *("kill", "tkill", "tgkill", "prlimit64"),
)
_FCNTL_OF_OTHERS = (8, 10, 15)  # SETOWN, SETSIG, SETOWN_EX: to have the kernel signal another process
_IOCTL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # TCGETS, GWINSZ, FIONREAD, FIONBIO, FIO(N)CLEX

_MACHINES = {
    "x86_64": (0xC000003E, syscalls.X86_64, syscalls.X86_64_SPECIAL),
    "aarch64": (0xC00000B7, syscalls.AARCH64, syscalls.AARCH64_SPECIAL),
}


OWN_ID = 0x7FFFFFFF  # stands in the program for the id of the process that installs it


def _op(code: int, k: int, jt: int = 0, jf: int = 0) -> bytes:
    return struct.pack("HBBI", code, jt, jf, k)


def _ranges(numbers: list[int]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def _deny(code: int = errno.EPERM) -> bytes:
    return _op(_RET, _ERRNO | code)


def _when(number: int, body: list[bytes]) -> list[bytes]:
    """Run ``body``, which must return, for one system call number and skip it for all others."""
    return [_op(_JEQ, number, 0, len(body)), *body]


def _one_of(offset: int, values: tuple[int, ...]) -> list[bytes]:
    tests = [_op(_JEQ, value, len(values) - index, 0) for index, value in enumerate(values)]
    return [_op(_LOAD, offset), *tests, _deny(), _op(_RET, _ALLOW)]


def _none_of(offset: int, values: tuple[int, ...]) -> list[bytes]:
    tests = [_op(_JEQ, value, len(values) - index, 0) for index, value in enumerate(values)]
    return [_op(_LOAD, offset), *tests, _op(_RET, _ALLOW), _deny()]


def fork_server(machine: str | None = None, *, executes: int | None = None) -> bytes:
    """Assemble the filter of a process that forks programs.

    It may do what programs may and fork, choose its core, change its user, receive descriptors, make files in
    memory and install a filter; and it allows what it cannot tell of its forks, their own ids. ``machine``: by
    default this one. ``executes``: the one descriptor whose file may be executed. Raises OSError where no table
    exists.
    """
    arch, allowed, special = _tables(machine)
    answers = {**_ANSWERS, **_ANSWERS_TO_SERVERS}
    if executes is not None:
        answers["execveat"] = _executing(executes)
    program = [
        _op(_LOAD, _ARCH),
        _op(_JEQ, arch, 1, 0),
        _op(_RET, _KILL),
        _op(_LOAD, _NR),
        _op(_JGE, 0x40000000, 0, 1),  # x32
        _op(_RET, _KILL),
    ]
    for call, body in answers.items():
        program += _when(special[call], body)
    return b"".join(program + _search(_ranges(list(allowed.values()))))


def fork(machine: str | None = None) -> bytes:
    """Assemble what a fork of such a process installs on top: it takes away what programs may not do.

    It has ``OWN_ID`` in place of the fork's own id. Raises OSError where no table exists.
    """
    _, _, special = _tables(machine)
    program = [_op(_LOAD, _NR)]
    for call in _ANSWERS_TO_SERVERS:
        program += _when(special[call], _ANSWERS.get(call, [_deny()]))
    return b"".join([*program, _op(_RET, _ALLOW)])


def _executing(descriptor: int) -> list[bytes]:
    return [
        _op(_LOAD, _ARG4),
        _op(_JEQ, _AT_EMPTY_PATH, 0, 2),
        _op(_LOAD, _ARG0),
        _op(_JEQ, descriptor, 1, 0),
        _deny(),
        _op(_RET, _ALLOW),
    ]


# What programs are answered, where that depends on the arguments; the C library is to fall back from clone3.
_ANSWERS = {
    "clone3": [_deny(errno.ENOSYS)],
    "clone": [
        _op(_LOAD, _ARG0),
        _op(_JSET, _CLONE_NAMESPACES, 1, 0),
        _op(_JSET, _CLONE_THREAD, 1, 0),
        _deny(),
        _op(_RET, _ALLOW),
    ],
    "socketpair": [
        _op(_LOAD, _ARG0),
        _op(_JEQ, _AF_UNIX, 0, 3),
        _op(_LOAD, _ARG1),
        _op(_AND, _SOCK_TYPE_MASK),
        _op(_JEQ, _SOCK_STREAM, 1, 0),
        _deny(),
        _op(_RET, _ALLOW),
    ],
    "prctl": _one_of(_ARG0, _PRCTL),
    "ioctl": _one_of(_ARG1, _IOCTL),
    "fcntl": _none_of(_ARG1, _FCNTL_OF_OTHERS),
    "prlimit64": _one_of(_ARG0, (0, OWN_ID)),
    # The C library signals itself by tgkill, or by tkill with the id of its first thread.
    **dict.fromkeys(("kill", "tkill", "tgkill"), _one_of(_ARG0, (OWN_ID,))),
}
# What fork servers are answered instead. Whatever stands here is answered anew to their forks.
_ANSWERS_TO_SERVERS = {
    "clone": [_op(_LOAD, _ARG0), _op(_JSET, _CLONE_NAMESPACES, 0, 1), _deny(), _op(_RET, _ALLOW)],
    "prctl": _one_of(_ARG0, _PRCTL + _PRCTL_OF_SERVERS),
    **{call: [_op(_RET, _ALLOW)] for call in _FREE_TO_SERVERS},
}


def _tables(machine: str | None) -> tuple[int, dict[str, int], dict[str, int]]:
    name = machine or os.uname().machine
    if name not in _MACHINES:
        raise OSError(errno.ENOSYS, f"no system call table for {name}")
    return _MACHINES[name]


def _search(ranges: list[tuple[int, int]]) -> list[bytes]:
    """Search by halves: the kernel tries every call on a new filter, which a long list would slow down."""
    if len(ranges) == 1:
        low, high = ranges[0]
        return [_op(_JGE, low, 0, 1), _op(_JGT, high, 0, 1), _deny(), _op(_RET, _ALLOW)]
    half = len(ranges) // 2
    below, above = _search(ranges[:half]), _search(ranges[half:])
    # A conditional jump reaches 255 operations; a plain one any number.
    return [_op(_JGE, ranges[half][0], 0, 1), _op(_JUMP, len(below)), *below, *above]
