"""The records of a jsonl file that a run is writing, each of its lines parsed once."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

Record = Mapping[str, Any]


class GrowingLines:
    """Read a jsonl file again and again, of which only what was added since the last time is parsed.

    ``most_steps`` bounds the steps whose records are kept: of more, those that 2, 4, 8, ... divides, and the
    newest. A file that was replaced, as by a resumed run, is read from its start.
    """

    def __init__(self, path: Path, most_steps: int | None = None) -> None:
        self._path = path
        self._most_steps = math.inf if most_steps is None else most_steps
        self._forget(file=0)

    @property
    def name(self) -> str:
        """The name of the file."""
        return self._path.name

    @property
    def bad_lines(self) -> int:
        """Count the lines read so far that are no JSON objects."""
        return self._bad_lines

    @property
    def steps(self) -> int:
        """Count the steps read so far, those that are not kept among them."""
        return self._steps

    def read(self) -> list[Record]:
        """Return the records that are kept, in the file's order; none where there is no file.

        The last line may be torn: the run is writing it, or was killed then.
        """
        if not self._path.exists():
            self._forget(file=0)
            return []
        with self._path.open("rb") as file:
            status = self._path.stat()
            if status.st_ino != self._file or status.st_size < self._offset:
                self._forget(status.st_ino)
            file.seek(self._offset)
            *lines, rest = file.read().split(b"\n")
        for line in lines:
            self._offset += len(line) + 1
            self._take(line)
        last = _parsed(rest)
        return self._records if last is None else [*self._records, last]

    def _forget(self, file: int) -> None:
        self._file, self._offset = file, 0
        self._records: list[Record] = []
        self._kept_steps: set[float] = set()
        self._newest, self._steps, self._stride = -math.inf, 0, 1
        self._bad_lines = 0

    def _take(self, line: bytes) -> None:
        record = _parsed(line)
        if record is None:
            self._bad_lines += 1
            return
        step = _step_of(record)
        if step is not None and step > self._newest:
            self._drop_newest()
            self._newest = step
            self._steps += 1
        self._records.append(record)
        if step is not None:
            self._kept_steps.add(step)
        if len(self._kept_steps) > self._most_steps:
            self._thin()

    def _drop_newest(self) -> None:
        """Drop the step that was the newest, unless it is one of those that stay."""
        if self._newest % self._stride:
            while self._records and _step_of(self._records[-1]) == self._newest:
                self._records.pop()
            self._kept_steps.discard(self._newest)

    def _thin(self) -> None:
        self._stride *= 2
        kept = (self._newest, None)
        self._records = [r for r in self._records if (s := _step_of(r)) in kept or not s % self._stride]
        self._kept_steps = {step for step in self._kept_steps if step == self._newest or not step % self._stride}


def is_number(value: object) -> TypeGuard[int | float]:
    """Return whether a value of a record is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _step_of(record: Record) -> float | None:
    step = record.get("step")
    return float(step) if is_number(step) else None


def _parsed(line: bytes) -> Record | None:
    try:
        value = json.loads(line.decode("utf-8", errors="replace"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
