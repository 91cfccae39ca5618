"""The DiffuCoder paper's selection of AceCode problems: hard ones on which the models that tried them disagree."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.tasks.rows import TaskRow

#: The models whose pass rates the paper goes by.
MODELS = ("qwen_coder_2.5", "llama3_instruct")


@dataclass(frozen=True)
class HardSplit:
    """The selection: ``kept`` rows in their order, and the thresholds.

    These are of pass rates between 0 and 1, and of their standard deviation. ``too_easy``: rows whose mean is
    above ``mean_at_most``; ``too_even``: of the others, those whose deviation is below ``std_at_least``.
    """

    kept: tuple[TaskRow, ...]
    rows: int
    mean_at_most: float
    std_at_least: float
    too_easy: int
    too_even: int


def hard_split(
    rows: Iterable[TaskRow],
    *,
    models: Collection[str] = MODELS,
    mean_percentile: float = 20.0,
    std_percentile: float = 40.0,
) -> HardSplit:
    """Select the rows that are hard and on which the models disagree.

    Both percentiles (0 to 100, linear between ranks) are of all rows; rows on a threshold are kept.
    The mean and the deviation (of the population) of a row are those of the pass rates of all its inferences by
    one of ``models``. Raises :class:`common.tasks.rows.TaskFileError` for a row that lacks them.
    """
    read = tuple(rows)
    rates = [_pass_rates(row, models) for row in read]
    means = np.array([np.mean(rate) for rate in rates])
    deviations = np.array([np.std(rate) for rate in rates])
    mean_at_most = float(np.percentile(means, mean_percentile))
    std_at_least = float(np.percentile(deviations, std_percentile))
    hard = means <= mean_at_most
    keep = hard & (deviations >= std_at_least)
    return HardSplit(
        kept=tuple(row for row, kept in zip(read, keep, strict=True) if kept),
        rows=len(read),
        mean_at_most=mean_at_most,
        std_at_least=std_at_least,
        too_easy=int((~hard).sum()),
        too_even=int((hard & ~keep).sum()),
    )


def _pass_rates(row: TaskRow, models: Collection[str]) -> list[float]:
    inferences = row.fields.get("inferences")
    if not isinstance(inferences, list) or not inferences:
        raise row.error(
            "inferences", "is missing or no list; give what models made of the problem, as AceCode does"
        )
    rates: list[float] = []
    seen: dict[str, None] = {}
    for number, inference in enumerate(inferences):
        name = f"inferences.{number}"
        model = inference.get("model_name") if isinstance(inference, dict) else None
        if not isinstance(model, str):
            raise row.error(f"{name}.model_name", "is missing or no string; name the model")
        seen[model] = None
        if model in models:
            rates.append(_rate(row, name, inference.get("pass_rate")))
    if not rates:
        raise row.error("inferences", f"has none by {', '.join(models)}; choose from {', '.join(seen)}")
    return rates


def _rate(row: TaskRow, name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise row.error(f"{name}.pass_rate", "is no number between 0 and 1; give the share of tests passed")
    return float(value)
