"""The figures of an evaluation, from the samples in its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from evaluation.evalplus import EvalPlusScore, evalplus_scores
from evaluation.folder import EvaluationFolder
from evaluation.scores import (
    BestTemperature,
    CellScore,
    Evaluated,
    SeedMean,
    best_temperatures,
    cell_scores,
    seed_means,
)
from evaluation.settings import EvaluationSettings
from evaluation.summary import summarise


@dataclass(frozen=True)
class Results:
    """Scores of every benchmark in every cell, over the seeds, at the best temperature, and of EvalPlus.

    ``complete``: whether none is missing. ``seconds``: of completing, by benchmark and cell.
    """

    complete: bool
    scores: tuple[CellScore, ...]
    means: tuple[SeedMean, ...]
    best: tuple[BestTemperature, ...]
    evalplus: tuple[EvalPlusScore, ...]
    seconds: Mapping[tuple[str, str], float]

    @classmethod
    def read(
        cls,
        folder: EvaluationFolder,
        settings: EvaluationSettings,
        families: Mapping[str, str],
        ks: Sequence[int],
        complete: bool,
    ) -> Results:
        """Sum up what the folder has; ``families`` of tasks by benchmark."""
        cells = {cell.name: cell for cell in settings.cells}
        evaluated = [
            Evaluated(benchmark, cells[cell], summarise(samples))
            for (benchmark, cell), samples in groupby(folder.samples(), lambda one: (one.benchmark, one.cell))
        ]
        return cls(
            complete,
            tuple(cell_scores(evaluated, ks)),
            tuple(seed_means(evaluated, ks)),
            tuple(best_temperatures(evaluated, ks)),
            tuple(evalplus_scores(evaluated, families, ks)),
            folder.seconds(),
        )

    def record(self) -> dict[str, Any]:
        """Return everything but the seconds, for summary.json."""
        return {
            "complete": self.complete,
            "scores": [asdict(one) for one in self.scores],
            "means": [asdict(one) for one in self.means],
            "best": [asdict(one) for one in self.best],
            "evalplus": [asdict(one) for one in self.evalplus],
        }

    def timed_record(self) -> dict[str, Any]:
        """Return everything, the seconds in the records of their scores, as JSON has it."""
        record = self.record()
        for one in record["scores"]:
            one["seconds"] = self.seconds.get((one["benchmark"], one["cell"]))
        found: dict[str, Any] = json.loads(json.dumps(record))
        return found
