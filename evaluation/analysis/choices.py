"""Which temperature is best, and what fewer denoising steps cost: comparisons over the same tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.analysis.estimates import Estimate, estimate, estimate_difference, shares_best
from evaluation.analysis.measures import Measured


@dataclass(frozen=True)
class TemperatureRow:
    """pass@k at a temperature; ``share_best`` is the share of resamples of the tasks in which it is highest."""

    temperature: float
    rate: Estimate
    share_best: float


@dataclass(frozen=True)
class TemperatureChoice:
    """The temperatures of one benchmark, template and number of steps, ascending, by pass@k."""

    k: int
    rows: tuple[TemperatureRow, ...]

    @property
    def best(self) -> TemperatureRow:
        """The row of the highest pass@k; of equal ones that of the lowest temperature."""
        return max(self.rows, key=lambda row: row.rate.value)


def choose_temperature(measured: Sequence[Measured], k: int) -> TemperatureChoice | None:
    """Compare settings that differ in their temperature alone.

    Only tasks count that have k samples with a verdict at all of them. ``None`` where there is no such task.
    """
    ordered = sorted(measured, key=lambda one: one.setting.temperature)
    rates = [one.pass_at(k) for one in ordered]
    shared = set.intersection(*map(set, rates)) if rates else set()
    if not shared:
        return None
    kept = [{index: rate[index] for index in sorted(shared)} for rate in rates]
    rows = [
        TemperatureRow(one.setting.temperature, rate, share)
        for one, by_task, share in zip(ordered, kept, shares_best(kept), strict=True)
        if (rate := estimate(by_task)) is not None
    ]
    return TemperatureChoice(k, tuple(rows))


@dataclass(frozen=True)
class StepsRow:
    """pass@k with ``steps`` denoising steps; ``loss`` is what it is below that with most, of the same tasks."""

    steps: int
    rate: Estimate
    loss: Estimate | None
    tokens_per_forward: float | None


def compare_steps(measured: Sequence[Measured], k: int) -> tuple[StepsRow, ...]:
    """Compare settings that differ in their number of denoising steps alone, from the most steps to the fewest.

    Settings in which no task has k samples with a verdict are left out, and those of a causal model.
    """
    ordered = sorted((one for one in measured if one.setting.steps), key=_steps, reverse=True)
    rated = [(one, rate, by_task) for one in ordered if (rate := estimate(by_task := one.pass_at(k))) is not None]
    return tuple(
        StepsRow(
            _steps(one),
            rate,
            estimate_difference(rated[0][2], by_task) if number else None,
            one.tokens_per_forward,
        )
        for number, (one, rate, by_task) in enumerate(rated)
    )


def _steps(one: Measured) -> int:
    return one.setting.steps or 0
