"""The tables of an evaluation, whatever prints them: of its cells, over seeds, and at the best temperatures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from evaluation.evalplus import EvalPlusScore
from evaluation.intervals import Interval
from evaluation.results import Results
from evaluation.scores import BestTemperature, CellScore, SeedMean
from evaluation.settings import EvaluationSettings
from orchestrator.report.text import clean

#: Two lines of a heading or of a row.
Pair = tuple[str, str]
AnyScore = CellScore | SeedMean | BestTemperature | EvalPlusScore
#: Headings of the settings in which cells can differ.
_SETTINGS = {"template": "template", "temperature": "T", "denoising_steps": "steps", "seed": "seed"}


@dataclass(frozen=True)
class Section:
    """A table and what it shows; its first ``names`` columns say of what the figures are."""

    title: str
    names: int
    headings: tuple[Pair, ...]
    rows: tuple[tuple[Pair, ...], ...]


def sections(settings: EvaluationSettings, results: Results, *, times: bool) -> Iterator[Section]:
    """Make the tables that an evaluation has; ``times`` adds the seconds of completing.

    A setting has a column where cells differ in it.
    """
    varying = [name for name, values in settings.grid().items() if len(values) > 1]
    ks = sorted({k for one in results.scores for k in one.pass_at})
    if results.scores:
        figures = (
            ("local", "global"),
            ("tok/pass", "seconds" if times else ""),
            ("ended", ""),
        )
        yield Section(
            "",
            1 + len(varying),
            (*_headings(varying, ks), *figures),
            tuple(
                (*_names(one, varying), *_scores(one, ks), *_figures(one, results, times))
                for one in results.scores
            ),
        )
    if results.means:
        some = [name for name in varying if name != "seed"]
        yield Section(
            f"Over the seeds {_listed(results.means[0].seeds)}: the mean, ± the standard deviation of the seeds.",
            1 + len(some),
            _headings(some, ks),
            tuple((*_names(mean, some), *_mean_scores(mean, ks)) for mean in results.means),
        )
    if results.best:
        some = [name for name in varying if name not in ("seed", "temperature")]
        yield Section(
            f"The best of the temperatures {_listed(results.best[0].temperatures)}: chosen by the very score that "
            "is shown, which makes it too good.",
            1 + len(some),
            _headings(some, ks),
            tuple((*_names(best, some), *_best_scores(best, ks)) for best in results.best),
        )
    if results.evalplus:
        some = [name for name in varying if name != "seed"]
        yield Section(
            "EvalPlus: the mean of HumanEval+ and MBPP+.",
            1 + len(some),
            _headings(some, ks),
            tuple((*_names(one, some), *_scores(one, ks)) for one in results.evalplus),
        )


def _headings(settings: list[str], ks: list[int]) -> tuple[Pair, ...]:
    return (("benchmark", ""), *((_SETTINGS[name], "") for name in settings), *((f"pass@{k}", "95%") for k in ks))


def _names(one: AnyScore, settings: list[str]) -> list[Pair]:
    tasks = f"{one.tasks} tasks" if isinstance(one, CellScore) else ""
    return [(clean(one.benchmark), tasks), *((_setting(getattr(one, name)), "") for name in settings)]


def _scores(one: CellScore | EvalPlusScore, ks: list[int]) -> list[Pair]:
    return [(percent(one.pass_at[k]), _interval(one.intervals[k])) for k in ks]


def _mean_scores(one: SeedMean, ks: list[int]) -> list[Pair]:
    return [(f"{percent(one.pass_at[k])} ±{percent(one.deviations[k])}", _interval(one.intervals[k])) for k in ks]


def _best_scores(one: BestTemperature, ks: list[int]) -> list[Pair]:
    return [(f"{percent(one.pass_at[k])} at {_setting(one.chosen[k])}", _interval(one.intervals[k])) for k in ks]


def _figures(one: CellScore, results: Results, times: bool) -> list[Pair]:
    seconds = results.seconds.get((one.benchmark, one.cell)) if times else None
    return [
        (_number(one.ar_ness.get("local@1")), _number(one.ar_ness.get("global@1"))),
        (_number(one.tokens_per_forward), "" if seconds is None else f"{seconds:.1f}"),
        (percent(one.ended), f"{one.excluded} excluded" if one.excluded else ""),
    ]


def percent(share: float | None) -> str:
    """Write a share as a percentage."""
    return "-" if share is None else f"{share:.1%}"


def _interval(interval: Interval | None) -> str:
    return "" if interval is None else f"{100 * interval[0]:.1f}-{100 * interval[1]:.1f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _setting(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _listed(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)
