"""A folder of ``couplet evaluate``, as an analysis reads it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from common.errors import UserError
from common.records import Sampler
from evaluation.analysis.confidence import FirstSteps
from evaluation.json_lines import parse_line
from evaluation.samples import Sample
from evaluation.settings import Cell, EvaluationSettings

SETTINGS, SAMPLES, CONFIDENCE = "settings.json", "samples.jsonl", "confidence.json"


@dataclass(frozen=True, order=True)
class Setting:
    """What cells have in common that differ in their seed alone. ``steps`` is ``None`` of a causal model."""

    template: str
    temperature: float
    steps: int | None

    @classmethod
    def of(cls, cell: Cell) -> Setting:
        """Return the setting of a cell."""
        sampler = cell.sampler
        return cls(
            cell.template,
            sampler.temperature,
            sampler.denoising_steps if isinstance(sampler, Sampler) else None,
        )


@dataclass(frozen=True)
class RecordedEvaluation:
    """What an evaluation left in its folder.

    ``sources`` says, by benchmark, where its tasks are from, and ``counts`` how many it has.
    ``first_steps`` is empty where confidences were not recorded.
    """

    path: Path
    label: str
    settings: EvaluationSettings
    sources: Mapping[str, str]
    counts: Mapping[str, int]
    first_steps: tuple[FirstSteps, ...]

    @property
    def cells(self) -> dict[str, Cell]:
        """The cells by name."""
        return {cell.name: cell for cell in self.settings.cells}

    @property
    def samples_size(self) -> int:
        """Bytes of the samples."""
        return (self.path / SAMPLES).stat().st_size

    def samples(self, read: Callable[[int], None] = lambda size: None) -> Iterator[Sample]:
        """Read the samples, one at a time; a torn last line is left out. ``read`` hears of bytes that are read.

        Raises UserError for a line that is no sample of one of the cells.
        """
        cells = self.cells
        with (self.path / SAMPLES).open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.endswith(b"\n"):
                    sample = parse_line(self.path / SAMPLES, number, line, Sample)
                    if sample.cell not in cells:
                        raise UserError(
                            f"{self.path / SAMPLES}, line {number}: {SETTINGS} has no cell {sample.cell!r}; "
                            "evaluate the model again, into an empty folder"
                        )
                    yield sample
                read(len(line))


def read_evaluation(path: Path, label: str) -> RecordedEvaluation:
    """Read a folder's settings and confidences. Raises UserError for one that no evaluation has written."""
    if not (path / SETTINGS).is_file() or not (path / SAMPLES).is_file():
        raise UserError(
            f"{path}: is no folder of `couplet evaluate`: {SETTINGS} and {SAMPLES} must be in it; give the folder "
            "that `couplet evaluate` named at its end"
        )
    try:
        facts = json.loads((path / SETTINGS).read_text(encoding="utf-8"))
        settings = EvaluationSettings.model_validate(facts["settings"])
        sources = {name: str(task["source"]) for name, task in facts["tasks"].items()}
        counts = {name: int(task["count"]) for name, task in facts["tasks"].items()}
        return RecordedEvaluation(path, label, settings, sources, counts, _first_steps(path))
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: its settings or confidences cannot be read: {_short(error)}; evaluate the model again with "
            "this version of Couplet"
        ) from error


def _first_steps(path: Path) -> tuple[FirstSteps, ...]:
    file = path / CONFIDENCE
    if not file.is_file():
        return ()
    record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return tuple(FirstSteps.model_validate(one) for one in record["first_steps"])


def _short(error: Exception) -> str:
    """Say what is wrong on one line."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return f"{type(error).__name__}: {error}"
