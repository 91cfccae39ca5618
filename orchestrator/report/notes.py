"""The notes of a run, as its folder has them: what happened, in words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from orchestrator.report.growing_lines import is_number
from orchestrator.report.text import one_line

#: Lines of ``notes.jsonl`` that are shown: the first, where a trouble begins, and the last.
_FIRST, _LAST = 100, 100
_LONGEST = 2000


class Note(NamedTuple):
    """A line for the user; ``at``: the time of day at which it came, empty where that is not known."""

    at: str
    text: str


def read_notes(folder: Path) -> tuple[Sequence[Note], int]:
    """Return the notes of a run, and how many in the middle of many were left out."""
    path = folder / "notes.jsonl"
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    left_out = max(0, len(lines) - _FIRST - _LAST)
    if left_out:
        lines = [*lines[:_FIRST], *lines[-_LAST:]]
    return [note for note in map(_note, lines) if note is not None], left_out


def _note(line: str) -> Note | None:
    try:
        record = json.loads(line)
    except ValueError:  # the run is writing it, or was killed then
        return None
    if not isinstance(record, dict) or "text" not in record:
        return None
    at = record.get("time")
    clock = datetime.fromtimestamp(at).isoformat(" ", "seconds") if is_number(at) else ""
    return Note(clock, one_line(record["text"], _LONGEST))
