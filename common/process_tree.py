"""Processes of this machine as the kernel lists them (Linux)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def children() -> list[int]:
    """Return the ids of the processes that this one has started and not waited for yet."""
    found: list[int] = []
    for file in Path("/proc/self/task").glob("*/children"):
        try:
            found += map(int, file.read_text().split())
        except FileNotFoundError:  # the thread has ended
            continue
    return found


def program(pid: int) -> str:
    """Return the name of the program that a process runs; empty where there is no such process (any more)."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return Path(line.partition(b"\0")[0].decode(errors="replace")).name


def state(pid: int) -> str:
    """Return the state of a process by the kernel, such as ``sleeping`` or ``stopped``; empty for none."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    line = next(line for line in status.splitlines() if line.startswith("State:"))
    return line.partition("(")[2].rstrip(")")


def having_in_environment(setting: bytes) -> Iterator[int]:
    """Yield the ids of the processes that were started with ``NAME=value`` in their environment."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                environment = folder.joinpath("environ").read_bytes()
            except (FileNotFoundError, ProcessLookupError, PermissionError):  # it has ended, or is another user's
                continue
            if setting in environment.split(b"\0"):
                yield int(folder.name)
