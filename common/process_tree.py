"""Processes of this machine as the kernel lists them (Linux)."""

from __future__ import annotations

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
