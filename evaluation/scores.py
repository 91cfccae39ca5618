"""pass@k of a grid: of every cell, over its seeds, and at the best of its temperatures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from evaluation.intervals import Interval, best_interval, bootstrap_interval
from evaluation.settings import Cell
from evaluation.summary import Summary

#: By k and the index of the task, the estimated pass@k.
Columns = Mapping[int, Mapping[int, float]]


@dataclass(frozen=True)
class CellScore:
    """Figures of a benchmark in a cell; ``intervals`` are bootstrap intervals over tasks, by k as ``pass_at``.

    One task has no interval, since nothing is known of others.

    ``pass_at``: the mean over the tasks that have k samples with a verdict at least. ``excluded``: samples without
    one. ``denoising_steps``: None of a causal model. The other figures are those of :class:`.summary.Summary`.
    """

    benchmark: str
    cell: str
    template: str
    temperature: float
    denoising_steps: int | None
    seed: int
    tasks: int
    samples: int
    excluded: int
    pass_at: dict[int, float | None]
    intervals: dict[int, Interval | None]
    ar_ness: dict[str, float]
    tokens: int
    forwards: int
    tokens_per_forward: float | None
    ended: float | None


@dataclass(frozen=True)
class SeedMean:
    """pass@k over several seeds: mean, bootstrap interval over tasks, and the seeds' standard deviation."""

    benchmark: str
    template: str
    temperature: float
    denoising_steps: int | None
    seeds: tuple[int, ...]
    pass_at: dict[int, float | None]
    intervals: dict[int, Interval | None]
    deviations: dict[int, float | None]


@dataclass(frozen=True)
class BestTemperature:
    """pass@k, over all seeds, at the temperature at which it is best: ``chosen``, by k.

    The choice is made on the tasks that it is reported for, which makes it too good. The intervals choose anew in
    each resample.
    """

    benchmark: str
    template: str
    denoising_steps: int | None
    seeds: tuple[int, ...]
    temperatures: tuple[float, ...]
    chosen: dict[int, float | None]
    pass_at: dict[int, float | None]
    intervals: dict[int, Interval | None]


@dataclass(frozen=True)
class Evaluated:
    """A benchmark in a cell, and its figures."""

    benchmark: str
    cell: Cell
    summary: Summary


def cell_scores(evaluated: Iterable[Evaluated], ks: Sequence[int]) -> list[CellScore]:
    """Score every benchmark in every cell."""
    found = []
    for one in evaluated:
        columns = mean_columns([one], ks)
        summary = one.summary
        found.append(
            CellScore(
                benchmark=one.benchmark,
                cell=one.cell.name,
                template=one.cell.template,
                temperature=one.cell.sampler.temperature,
                denoising_steps=one.cell.denoising_steps,
                seed=one.cell.seed,
                tasks=len(summary.verdicts),
                samples=summary.samples,
                excluded=summary.excluded,
                pass_at=_means(columns),
                intervals=_intervals(columns),
                ar_ness=summary.ar_ness,
                tokens=summary.tokens,
                forwards=summary.forwards,
                tokens_per_forward=summary.tokens_per_forward,
                ended=summary.ended,
            )
        )
    return found


def seed_means(evaluated: Iterable[Evaluated], ks: Sequence[int]) -> list[SeedMean]:
    """Average over the seeds of cells that differ in nothing else; nothing for those with one seed."""
    return [
        SeedMean(
            benchmark=some[0].benchmark,
            template=some[0].cell.template,
            temperature=some[0].cell.sampler.temperature,
            denoising_steps=some[0].cell.denoising_steps,
            seeds=tuple(one.cell.seed for one in some),
            pass_at=_means(columns := mean_columns(some, ks)),
            intervals=_intervals(columns),
            deviations={k: _deviation([_means(mean_columns([one], [k]))[k] for one in some]) for k in ks},
        )
        for some in by_seed(evaluated)
        if len(some) > 1
    ]


def best_temperatures(evaluated: Iterable[Evaluated], ks: Sequence[int]) -> list[BestTemperature]:
    """Choose the best temperature of cells that differ in nothing else but seeds; nothing for those with one."""
    found = []
    groups: dict[tuple[str, str, int | None], list[list[Evaluated]]] = {}
    for some in by_seed(evaluated):
        groups.setdefault((some[0].benchmark, some[0].cell.template, some[0].cell.denoising_steps), []).append(
            some
        )
    for (benchmark, template, steps), by_temperature in groups.items():
        if len(by_temperature) == 1:
            continue
        temperatures = [some[0].cell.sampler.temperature for some in by_temperature]
        best = {k: _best(temperatures, [mean_columns(some, [k])[k] for some in by_temperature]) for k in ks}
        found.append(
            BestTemperature(
                benchmark=benchmark,
                template=template,
                denoising_steps=steps,
                seeds=tuple(one.cell.seed for one in by_temperature[0]),
                temperatures=tuple(temperatures),
                chosen={k: chosen for k, (chosen, _, _) in best.items()},
                pass_at={k: value for k, (_, value, _) in best.items()},
                intervals={k: interval for k, (_, _, interval) in best.items()},
            )
        )
    return found


def by_seed(evaluated: Iterable[Evaluated]) -> list[list[Evaluated]]:
    """Group what differs in the seed alone."""
    groups: dict[tuple[str, str, float, int | None], list[Evaluated]] = {}
    for one in evaluated:
        key = (one.benchmark, one.cell.template, one.cell.sampler.temperature, one.cell.denoising_steps)
        groups.setdefault(key, []).append(one)
    return list(groups.values())


def mean_columns(some: Sequence[Evaluated], ks: Sequence[int]) -> dict[int, dict[int, float]]:
    """Average pass@k of each task over several evaluations of it, of the tasks that all of them have."""
    columns = {}
    for k in ks:
        found = [one.summary.pass_at(k) for one in some]
        tasks = [index for index in found[0] if all(index in column for column in found)]
        columns[k] = {index: fmean(column[index] for column in found) for index in tasks}
    return columns


def _means(columns: Columns) -> dict[int, float | None]:
    return {k: fmean(column.values()) if column else None for k, column in columns.items()}


def _intervals(columns: Columns) -> dict[int, Interval | None]:
    return {
        k: bootstrap_interval(list(column.values())) if len(column) > 1 else None for k, column in columns.items()
    }


def _deviation(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return stdev(known) if len(known) == len(values) else None


def _best(
    temperatures: Sequence[float], columns: Sequence[Mapping[int, float]]
) -> tuple[float | None, float | None, Interval | None]:
    """Return the best temperature, the lowest of equals, its score on the tasks that all have, and interval."""
    tasks = [index for index in columns[0] if all(index in column for column in columns)]
    if not tasks:
        return None, None, None
    scores = [[column[index] for index in tasks] for column in columns]
    means = [fmean(column) for column in scores]
    value = max(means)
    chosen = min(temperature for temperature, mean in zip(temperatures, means, strict=True) if mean == value)
    return chosen, value, best_interval(scores) if len(tasks) > 1 else None
