"""The score of EvalPlus: the mean of HumanEval+ and MBPP+, which the paper reports beside both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import fmean

from evaluation.intervals import Interval, interval_of_mean
from evaluation.scores import Evaluated, by_seed, mean_columns

#: The families of tasks of which it is the mean.
FAMILIES = ("humaneval+", "mbpp+")


@dataclass(frozen=True)
class EvalPlusScore:
    """Means, over all seeds, of pass@k on two benchmarks, and their bootstrap intervals over the tasks of both."""

    benchmark: str
    template: str
    temperature: float
    denoising_steps: int | None
    seeds: tuple[int, ...]
    pass_at: dict[int, float | None]
    intervals: dict[int, Interval | None]


def evalplus_scores(
    evaluated: Iterable[Evaluated], families: Mapping[str, str], ks: Sequence[int]
) -> list[EvalPlusScore]:
    """Average HumanEval+ and MBPP+ in the cells that have both; ``families`` are those of benchmarks, by name."""
    groups = by_seed(evaluated)
    first, other = ([some for some in groups if families[some[0].benchmark] == family] for family in FAMILIES)
    return [_score(one, two, ks) for one, two in product(first, other) if _settings(one) == _settings(two)]


def _settings(some: Sequence[Evaluated]) -> tuple[object, ...]:
    cell = some[0].cell
    return cell.template, cell.sampler.temperature, cell.denoising_steps, [one.cell.seed for one in some]


def _score(first: Sequence[Evaluated], other: Sequence[Evaluated], ks: Sequence[int]) -> EvalPlusScore:
    cell = first[0].cell
    columns = [mean_columns(some, ks) for some in (first, other)]
    scores = {k: [list(column[k].values()) for column in columns] for k in ks}
    return EvalPlusScore(
        benchmark=f"{first[0].benchmark}, {other[0].benchmark}",
        template=cell.template,
        temperature=cell.sampler.temperature,
        denoising_steps=cell.denoising_steps,
        seeds=tuple(one.cell.seed for one in first),
        pass_at={k: fmean(map(fmean, both)) if all(both) else None for k, both in scores.items()},
        intervals={k: interval_of_mean(both) if min(map(len, both)) > 1 else None for k, both in scores.items()},
    )
