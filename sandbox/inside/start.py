"""Starts the runner in a process whose memory is laid out before it takes any."""

from __future__ import annotations

from sandbox.inside import huge_heap


def main() -> None:
    """Lay out memory, then import and be the runner, which never returns."""
    huge_heap.keep_together()
    from sandbox.inside import runner  # its modules are what takes the memory

    runner.main()
