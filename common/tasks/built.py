"""What a row became."""

from __future__ import annotations

from dataclasses import dataclass

from common.records import Task


class SkippedRowError(ValueError):
    """A well-formed row none of whose tests can be used; the message says why."""


@dataclass(frozen=True)
class Built:
    """The task of a row, and why each test that it was to have and has not was left out."""

    task: Task
    left_out: tuple[str, ...] = ()
