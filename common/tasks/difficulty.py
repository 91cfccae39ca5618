"""The difficulty splits of AceCode, by the pass rates of models that tried its problems.

The thresholds are those of the released DiffuCoder preparation (``recipes/process_data.py``), whose hard split the
paper trains on (section 4.2).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.tasks.rows import TaskRow

#: The models whose pass rates the paper goes by.
MODELS = ("qwen_coder_2.5", "llama3_instruct")


@dataclass(frozen=True)
class Thresholds:
    """Percentiles, 0 to 100, that bound a split; without a value there is no such bound.

    ``mean_from`` and ``mean_to`` bound a row's mean pass rate, ``std_from`` its standard deviation from below.
    """

    mean_from: float | None = None
    mean_to: float | None = None
    std_from: float | None = None


#: By name. The released file's comments speak of other percentiles for ``hard`` than its code takes.
SPLITS: Mapping[str, Thresholds] = {
    "hard": Thresholds(mean_to=20.0, std_from=40.0),
    "medium": Thresholds(mean_from=25.0, mean_to=75.0),
    "easy": Thresholds(mean_from=75.0),
    "all": Thresholds(),
}


@dataclass(frozen=True)
class Split:
    """A selection of rows: ``kept``, in their order, of ``rows``.

    The bounds are of pass rates between 0 and 1, and of their standard deviation; None where there is none.
    ``too_hard`` and ``too_easy`` count the rows whose mean is below and above them; ``too_even``, of the others,
    those whose deviation is below ``std_at_least``.
    """

    kept: tuple[TaskRow, ...]
    rows: int
    mean_at_least: float | None
    mean_at_most: float | None
    std_at_least: float | None
    too_hard: int
    too_easy: int
    too_even: int


def split_by_difficulty(
    rows: Iterable[TaskRow], thresholds: Thresholds, *, models: Collection[str] = MODELS
) -> Split:
    """Select the rows within the thresholds, those on a threshold included.

    Percentiles (linear between ranks) are of all rows. The mean and the deviation (of the population) of a row are
    those of the pass rates of all its inferences by one of ``models``. Raises
    :class:`common.tasks.rows.TaskFileError` for a row that lacks them, unless there are no thresholds.
    """
    read = tuple(rows)
    if thresholds == Thresholds():
        return Split(read, len(read), None, None, None, 0, 0, 0)
    rates = [_pass_rates(row, models) for row in read]
    means = np.array([np.mean(rate) for rate in rates])
    deviations = np.array([np.std(rate) for rate in rates])
    mean_at_least = _percentile(means, thresholds.mean_from)
    mean_at_most = _percentile(means, thresholds.mean_to)
    std_at_least = _percentile(deviations, thresholds.std_from)
    too_hard = means < (-np.inf if mean_at_least is None else mean_at_least)
    too_easy = means > (np.inf if mean_at_most is None else mean_at_most)
    too_even = ~(too_hard | too_easy) & (deviations < (-np.inf if std_at_least is None else std_at_least))
    left_out = too_hard | too_easy | too_even
    return Split(
        kept=tuple(row for row, out in zip(read, left_out, strict=True) if not out),
        rows=len(read),
        mean_at_least=mean_at_least,
        mean_at_most=mean_at_most,
        std_at_least=std_at_least,
        too_hard=int(too_hard.sum()),
        too_easy=int(too_easy.sum()),
        too_even=int(too_even.sum()),
    )


def inferences_of(row: TaskRow) -> list[dict[str, Any]]:
    """Return what models made of a row's problem, each with the ``model_name`` as a string.

    Raises :class:`common.tasks.rows.TaskFileError`, naming the field, for a row without any.
    """
    inferences = row.fields.get("inferences")
    if not isinstance(inferences, list) or not inferences:
        raise row.error(
            "inferences", "is missing or no list; give what models made of the problem, as AceCode does"
        )
    for number, inference in enumerate(inferences):
        model = inference.get("model_name") if isinstance(inference, dict) else None
        if not isinstance(model, str):
            raise row.error(f"inferences.{number}.model_name", "is missing or no string; name the model")
    return inferences


def pass_rate_of(row: TaskRow, number: int) -> float:
    """Return the pass rate of a row's inference. Raises :class:`common.tasks.rows.TaskFileError` for none."""
    value = row.fields["inferences"][number].get("pass_rate")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise row.error(
            f"inferences.{number}.pass_rate", "is no number between 0 and 1; give the share of tests passed"
        )
    return float(value)


def _pass_rates(row: TaskRow, models: Collection[str]) -> list[float]:
    names = [inference["model_name"] for inference in inferences_of(row)]
    rates = [pass_rate_of(row, number) for number, name in enumerate(names) if name in models]
    if not rates:
        found = ", ".join(dict.fromkeys(names))
        raise row.error("inferences", f"has none by {', '.join(models)}; choose from {found}")
    return rates


def _percentile(values: np.ndarray[Any, np.dtype[np.float64]], percent: float | None) -> float | None:
    return None if percent is None else float(np.percentile(values, percent))
