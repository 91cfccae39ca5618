"""Nothing that a program does with one input is seen with the next, though both run in forks of one process."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from sandbox.types import Budget, Outcome
from tests.sandbox import levels
from tests.sandbox.test_inputs import LIMITS, program

_PATIENT = Budget(timeouts=100)
_SOURCE = r"""
import builtins, ctypes, fcntl, json, os, resource, signal, socket, stat, sys, tempfile, threading

LIBC = ctypes.CDLL(None, use_errno=True)
HOME = tempfile.gettempdir()
FOLDERS = (".", HOME, "/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue", "/run")
KEY, CREATE = 0x4242, 0o1666
PROCESS_STATE = {"name": 16, "dumpable": 3, "death signal": 2, "subreaper": 37, "timer slack": 30, "keeps": 7}


def attempt(action, *arguments):
    try:
        return action(*arguments)
    except (OSError, ValueError, AttributeError):
        return None


def leave():
    for folder in FOLDERS:
        attempt(lambda: open(f"{folder}/left", "w").write("left"))
        attempt(os.mkdir, f"{folder}/left-folder", 0o777)
        attempt(os.mkfifo, f"{folder}/left-pipe")
        attempt(os.symlink, "/", f"{folder}/left-link")
        attempt(os.chmod, folder, 0o1777)
    attempt(lambda: open(__file__, "w").write("print('left')"))
    attempt(os.unlink, __file__)
    for call in (LIBC.shmget, LIBC.semget):
        call(KEY, 4096 if call is LIBC.shmget else 4, CREATE)
    LIBC.msgget(KEY, CREATE)
    LIBC.shm_open(b"/left", os.O_CREAT | os.O_RDWR, 0o666)
    attempt(lambda: LIBC.mq_open(b"/left", os.O_CREAT | os.O_RDWR, 0o666, None))
    attempt(lambda: LIBC.sem_open(b"/left", os.O_CREAT, 0o666, 1))
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        made = attempt(socket.socket, socket.AF_UNIX, kind)
        made is None or attempt(made.bind, "\0left")
    for fd in range(256):
        attempt(os.lseek, fd, 7, os.SEEK_SET)
        attempt(os.ftruncate, fd, 0)
        attempt(fcntl.fcntl, fd, fcntl.F_SETFL, os.O_NONBLOCK | os.O_APPEND)
        attempt(fcntl.fcntl, fd, fcntl.F_SETOWN, os.getpid())
        attempt(fcntl.fcntl, fd, fcntl.F_SETFD, 0)
        attempt(fcntl.flock, fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        attempt(os.fchmod, fd, 0o777)
        if fd > 2:
            attempt(os.write, fd, b"left")
    attempt(os.setpriority, os.PRIO_PROCESS, os.getppid(), 15)
    for which in (os.PRIO_PROCESS, os.PRIO_PGRP, os.PRIO_USER):
        attempt(os.setpriority, which, 0, 15)
    for pid in (0, os.getppid()):
        attempt(os.sched_setaffinity, pid, {min(os.sched_getaffinity(0))})
        attempt(os.sched_setscheduler, pid, os.SCHED_IDLE, os.sched_param(0))
        for limit in (resource.RLIMIT_NOFILE, resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_STACK):
            attempt(resource.prlimit, pid, limit, (64, 64))
    LIBC.prctl(15, b"left", 0, 0, 0)
    for option, value in ((4, 0), (1, 9), (36, 1), (29, 1), (8, 1), (24, 0), (38, 1)):
        LIBC.prctl(option, value, 0, 0, 0)
    attempt(os.setsid)
    attempt(os.setpgid, os.getppid(), 0)
    for one in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
        attempt(signal.signal, one, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    attempt(os.fork)
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    os.umask(0o777)
    os.environ["LEFT"] = "left"
    attempt(os.chdir, "/")
    json.left = builtins.left = True


def look():
    descriptors = {}
    for fd in range(256):
        found = attempt(os.fstat, fd)
        if found is not None:
            offset = attempt(os.lseek, fd, 0, os.SEEK_CUR)
            flags = fcntl.fcntl(fd, fcntl.F_GETFL)
            descriptors[fd] = (stat.filemode(found.st_mode), offset, flags, fcntl.fcntl(fd, fcntl.F_GETFD))
    limits = {name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name[:7] == "RLIMIT_"}
    state = {}
    for name, option in PROCESS_STATE.items():
        buffer = ctypes.create_string_buffer(64)
        state[name] = (LIBC.prctl(option, buffer, 0, 0, 0), buffer.raw.rstrip(b"\0").decode("latin-1"))
    return {
        "folders": {folder: attempt(lambda: sorted(os.listdir(folder))) for folder in FOLDERS},
        "modes": {folder: attempt(lambda: oct(os.stat(folder).st_mode)) for folder in FOLDERS},
        "source": attempt(lambda: len(open(__file__).read())),
        "ipc": (LIBC.shmget(KEY, 0, 0), LIBC.semget(KEY, 0, 0), LIBC.msgget(KEY, 0)),
        "shared memory": LIBC.shm_open(b"/left", 0, 0),
        "descriptors": descriptors,
        "priority": [attempt(os.getpriority, which, 0) for which in (os.PRIO_PROCESS, os.PRIO_PGRP, os.PRIO_USER)],
        "scheduler": (os.sched_getscheduler(0), len(os.sched_getaffinity(0))),
        "limits": limits,
        "process": state,
        "signals": [str(signal.getsignal(one)) for one in signal.Signals],
        "mask": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "processes": sum(name.isdigit() for name in attempt(os.listdir, "/proc") or ()) <= 1,
        "umask": os.umask(0o22),
        "environment": dict(os.environ),
        "threads": threading.active_count(),
        "names": (hasattr(json, "left"), hasattr(builtins, "left")),
        "input": sys.stdin.read(),
    }


if input() == "leaves":
    leave()
    os.write(1, b"left")
else:
    print(json.dumps(look()))
"""


@pytest.mark.parametrize("level", levels.NAMES)
def test_an_input_sees_nothing_of_those_before_it(backend_at: Callable[[str], levels.Backend], level: str) -> None:
    sandbox = backend_at(level).sandbox
    looks, leaves = "looks\nrest", "leaves\nrest"
    (alone,) = sandbox.run(program(_SOURCE, looks), LIMITS)
    assert alone.outcome is Outcome.OK, alone.stderr
    first, *others = sandbox.run(program(_SOURCE, looks, leaves, looks, leaves, looks), LIMITS, budget=_PATIENT)
    assert [run.outcome for run in others] == [Outcome.OK] * 4, others[0].stderr
    assert others[0].stdout == b"left", "all of it was tried"
    (after,) = sandbox.run(program(_SOURCE, looks), LIMITS)
    seen = [json.loads(run.stdout) for run in (alone, first, others[1], others[3], after)]
    for number, one in enumerate(seen):
        assert {key: (one[key], seen[0][key]) for key in one if one[key] != seen[0][key]} == {}, number
    assert seen[0]["processes"]
