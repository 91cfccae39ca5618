"""The folder of an evaluation: its settings, every sample as soon as it is scored, and the figures."""

from __future__ import annotations

import fcntl
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from common.disk import says_full, write_text
from common.errors import UserError
from evaluation.batches import CompletedBatch
from evaluation.differences import differences
from evaluation.json_lines import append_lines, drop_torn_line, parse_line, read_lines
from evaluation.samples import Sample
from evaluation.settings import EvaluationSettings

#: A benchmark and a cell, by their names.
_Cell = tuple[str, str]
_MOST_NAMED = 5
_CELL_NAME = re.compile(r"settings\.cells\.\d+\.name ")


class EvaluationFolder:
    """Everything that an evaluation leaves behind, from which it goes on at whatever moment it was killed.

    Under way, ``samples.jsonl`` gets samples as they are scored, and ``batches.jsonl`` the completions of every
    batch as soon as all of them are there. In the end the samples are in order and batches.jsonl is gone: what is
    left is the same, byte by byte, however often the evaluation was interrupted. Only times differ, which are in
    ``times.json``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._settings = path / "settings.json"
        self._samples = path / "samples.jsonl"
        self._batches = path / "batches.jsonl"
        self._times = path / "times.json"
        self._kept: dict[_Cell, set[tuple[int, int]]] = defaultdict(set)
        self._seconds: dict[_Cell, float] = {}

    def check(self, facts: Mapping[str, Any]) -> None:
        """Raise UserError where the folder holds an evaluation of other facts, and name those."""
        if not self._settings.exists():
            for file in (self._samples, self._batches):
                if file.exists():
                    raise UserError(
                        f"--output {self.path}: holds a {file.name} without its settings.json, which would be "
                        "added to; name another folder, or remove it"
                    )
            return
        try:
            there = json.loads(self._settings.read_text("utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(
                f"--output {self.path}: settings.json: is of no evaluation; name another folder"
            ) from error
        found = differences(there, json.loads(json.dumps(facts)))
        differing = [one for one in found if not _CELL_NAME.match(one)]  # their other fields say the same
        if differing:
            more = f" and {len(differing) - _MOST_NAMED} more" if len(differing) > _MOST_NAMED else ""
            raise UserError(
                f"--output {self.path}: holds an evaluation with other settings: "
                f"{'; '.join(differing[:_MOST_NAMED])}{more}. Give those to go on with it, or name another folder"
            )

    @contextmanager
    def begun(self, facts: Mapping[str, Any]) -> Iterator[None]:
        """Make the folder, with ``facts`` as settings.json, or go on with the evaluation that is in it.

        Raises UserError where it cannot be written, at the start or later as a disk is full, where it is damaged,
        where another process evaluates there, and as :meth:`check`.
        """
        self.check(facts)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if not self._settings.exists():
                self.write(self._settings.name, json.dumps(facts, indent=2) + "\n")
            lock = self._settings.open("r+", encoding="utf-8")
        except OSError as error:
            raise UserError(f"--output {self.path}: cannot be written: {error}; name another folder") from error
        with lock:
            try:
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise UserError(
                    f"--output {self.path}: another process evaluates there; wait for its end"
                ) from error
            for left_over in self.path.glob(".*.tmp"):  # of a process that was killed
                left_over.unlink()
            for file in (self._samples, self._batches):
                drop_torn_line(file)
            if self._has_unscored():
                with self._replacing_samples() as whole:
                    whole.writelines(
                        f"{one.model_dump_json()}\n".encode() for one in self.samples() if not one.unscored
                    )
            self._kept.clear()
            for sample in self.samples():
                self._kept[sample.benchmark, sample.cell].add(sample.place)
            self._seconds = self._read_seconds()
            try:
                yield
            except OSError as error:
                if not says_full(error):
                    raise
                raise UserError(
                    f"--output {self.path}: a disk is full: {error}; make room, and the same command goes on"
                ) from error

    def settings(self) -> EvaluationSettings:
        """Read the settings. Raises UserError where there is no evaluation."""
        try:
            return EvaluationSettings.model_validate(json.loads(self._settings.read_text("utf-8"))["settings"])
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"{self.path}: holds no evaluation; name a folder of `couplet evaluate`") from error

    def kept(self, benchmark: str, cell: str) -> frozenset[tuple[int, int]]:
        """Return the index of the task and the number of each sample that is kept of a benchmark in a cell."""
        return frozenset(self._kept[benchmark, cell])

    def append(self, samples: Sequence[Sample]) -> None:
        """Keep samples, each for the first time."""
        append_lines(self._samples, samples)
        for sample in samples:
            self._kept[sample.benchmark, sample.cell].add(sample.place)

    def samples(self) -> Iterator[Sample]:
        """Read the samples, one at a time."""
        return read_lines(self._samples, Sample)

    def put_in_order(self, cells: Sequence[_Cell]) -> None:
        """Sort the samples by benchmark and cell, as these are given, and in each by the place of the task."""
        if not self._samples.exists():
            return
        rank = {cell: number for number, cell in enumerate(cells)}
        lines = []
        start = 0
        with self._samples.open("rb") as unordered, self._replacing_samples() as file:
            for number, line in enumerate(unordered, start=1):
                if not line.endswith(b"\n"):  # the disk was full
                    break
                sample = parse_line(self._samples, number, line, Sample)
                lines.append((rank[sample.benchmark, sample.cell], sample.place, start, len(line)))
                start += len(line)
            for _, _, start, length in sorted(lines):
                unordered.seek(start)
                file.write(unordered.read(length))

    def record(self, batch: CompletedBatch) -> None:
        """Keep the completions of a batch."""
        append_lines(self._batches, [batch])
        cell = batch.benchmark, batch.cell
        self._seconds[cell] = self._seconds.get(cell, 0.0) + batch.seconds

    def batches(self, benchmark: str, cell: str) -> Iterator[CompletedBatch]:
        """Read the batches of a benchmark in a cell that are complete, one at a time; none once all is done."""
        if (benchmark, cell) in self._seconds:
            for batch in read_lines(self._batches, CompletedBatch):
                if (batch.benchmark, batch.cell) == (benchmark, cell):
                    yield batch

    def seconds(self) -> dict[_Cell, float]:
        """Return how long completing took, by benchmark and cell, over the batches that are complete."""
        return self._seconds or self._read_seconds()

    def _read_seconds(self) -> dict[_Cell, float]:
        if self._times.exists():
            try:
                times = json.loads(self._times.read_text("utf-8"))["completing"]
                return {(one["benchmark"], one["cell"]): one["seconds"] for one in times}
            except (ValueError, KeyError, TypeError) as error:
                raise UserError(
                    f"{self._times}: has no times of an evaluation; remove the file, which no score depends on"
                ) from error
        found: dict[_Cell, float] = defaultdict(float)
        for batch in read_lines(self._batches, CompletedBatch):
            found[batch.benchmark, batch.cell] += batch.seconds
        return dict(found)

    def write(self, name: str, text: str) -> None:
        """Replace a file of figures."""
        write_text(self.path / name, text)

    def finish(self) -> None:
        """Leave nothing but results, since no sample is missing.

        Where the sandbox failed on some, the batches stay: those samples are scored again when the evaluation goes
        on, but not completed again.
        """
        completing = [
            {"benchmark": benchmark, "cell": cell, "seconds": seconds}
            for (benchmark, cell), seconds in self.seconds().items()
        ]
        if not self._times.exists():
            times = {"finished": datetime.now(UTC).isoformat(timespec="seconds"), "completing": completing}
            self.write(self._times.name, json.dumps(times, indent=2) + "\n")
        if not self._has_unscored():
            self._batches.unlink(missing_ok=True)

    def _has_unscored(self) -> bool:
        return any(sample.unscored for sample in self.samples())

    @contextmanager
    def _replacing_samples(self) -> Iterator[BinaryIO]:
        temporary = self._samples.with_name(".samples.jsonl.tmp")
        with temporary.open("wb") as file:
            yield file
        temporary.replace(self._samples)
