"""What the samples of one benchmark at one setting say, task by task: verdicts, order and confidence."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np
import numpy.typing as npt

from evaluation.analysis.order import ar_ness, average_first_passage, kendall_tau, tied_pairs
from evaluation.analysis.recorded import Setting
from evaluation.pass_at_k import pass_at_k
from evaluation.samples import Sample

#: The two orders of a completion: of its text, and of all commits.
TEXT, EXECUTED = "", "executed_"
#: Mean and variance, over the tokens of a text, of the log-probability that each had when it was committed.
CONFIDENCE, VARIANCE = "log_confidence", "log_confidence_variance"


@dataclass
class Measured:
    """The samples of a benchmark at a setting, those of all seeds together.

    ``verdicts`` and ``values`` are by task: whether each sample with a verdict passed, and, by the name of a
    measure, its value in each sample that has one. ``committed`` [L, 2] sums up, by position, in how many samples
    it was committed and after which share of the steps.
    """

    benchmark: str
    setting: Setting
    length: int
    verdicts: dict[int, list[bool]] = field(default_factory=lambda: defaultdict(list))
    values: dict[str, dict[int, list[float]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    committed: npt.NDArray[np.float64] = field(init=False)
    samples: int = 0
    excluded: int = 0
    ended: int = 0
    tokens: int = 0
    forwards: int = 0

    def __post_init__(self) -> None:
        self.committed = np.zeros((self.length, 2))

    def add(self, sample: Sample, ks: Sequence[int]) -> None:
        """Count a sample, with AR-ness at every k of ``ks``."""
        self.samples += 1
        self.ended += sample.ended
        self.tokens += len(sample.token_ids)
        self.forwards += sample.forwards
        self.excluded += sample.excluded
        passed = self.verdicts[sample.index]
        if not sample.excluded:
            passed.append(sample.passed)
        for name, value in _measures(sample, ks):
            self.values[name][sample.index].append(value)
            if name == VARIANCE and not sample.excluded:
                self.values[f"{name}_{'passed' if sample.passed else 'failed'}"][sample.index].append(value)
        self._add_commits(sample)

    def pass_at(self, k: int) -> dict[int, float]:
        """Compute pass@k of each task that has k samples with a verdict at least."""
        return {
            index: pass_at_k(len(verdicts), sum(verdicts), k)
            for index, verdicts in self.verdicts.items()
            if len(verdicts) >= k
        }

    def by_task(self, name: str) -> dict[int, float]:
        """Return the mean of a measure over the samples of each task that has one."""
        return {index: fmean(values) for index, values in self.values.get(name, {}).items()}

    @property
    def most(self) -> int:
        """Samples with a verdict of the task that has most."""
        return max(map(len, self.verdicts.values()), default=0)

    @property
    def tokens_per_forward(self) -> float | None:
        """Tokens of the texts over the forward passes that their completions took part in."""
        return self.tokens / self.forwards if self.forwards else None

    def _add_commits(self, sample: Sample) -> None:
        steps = np.asarray(sample.executed_step_map[: self.length], dtype=np.int64)
        places = (steps >= 0).nonzero()[0]
        if len(places):
            distinct, numbers = np.unique(steps[places], return_inverse=True)
            self.committed[places, 0] += 1
            self.committed[places, 1] += (numbers + 1) / len(distinct)


def _measures(sample: Sample, ks: Sequence[int]) -> Iterator[tuple[str, float]]:
    for of, step_map in ((TEXT, sample.step_map), (EXECUTED, sample.executed_step_map)):
        for name, value in ar_ness(step_map, ks).items():
            yield f"{of}{name}", value
        for name, figure in (("tau", kendall_tau(step_map)), ("first_passage", average_first_passage(step_map))):
            if figure is not None:
                yield f"{of}{name}", figure
        yield f"{of}tied_pairs", tied_pairs(step_map)
    if sample.confidence is not None:
        yield CONFIDENCE, sample.confidence.mean
        yield VARIANCE, sample.confidence.variance
