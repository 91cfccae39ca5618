"""The figures of the decoding order: AR-ness by temperature and by k, Kendall's tau, first-passage and places."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

from evaluation.analysis.estimates import estimate
from evaluation.analysis.measures import EXECUTED, TEXT, Measured
from evaluation.analysis.side import Side, Topic, pass_ks
from orchestrator.report.analysis.pictures import Picture, estimated, picture
from orchestrator.report.charts import COLOURS, Series

_SHARE = (0.0, 1.0)
_OF = {TEXT: "the text", EXECUTED: "all commits"}
_TEXT_ONLY = "Of the text: positions up to the token that ends it."
_ALL = "Of all commits: those behind the end of the text too, as the executed steps made them."
_BARS = "Bars are 95 % bootstrap intervals over tasks."


def pass_rates(sides: Sequence[Side], topic: Topic) -> Picture:
    """Draw pass@k over temperature."""
    series = []
    for number, side in enumerate(sides):
        measured = side.by_temperature(topic)
        for row, k in enumerate(pass_ks(measured)):
            points = [(one.setting.temperature, estimate(one.pass_at(k))) for one in measured]
            series.append(estimated(_named(side, sides, f"pass@{k}"), _colour(number, row), points))
    return picture(
        "pass-rates",
        "pass@k by temperature",
        "Higher is better. pass@1 is the share of samples that pass all tests, pass@k the chance that one of k "
        f"does: the gap between the lines is what more samples are worth, and opens with diversity. {_BARS}",
        series,
        "temperature",
        _SHARE,
    )


def ar_ness_by_temperature(sides: Sequence[Side], topic: Topic, k: int) -> Iterator[Picture]:
    """Draw local and global AR-ness at one k over temperature, of the text and of all commits."""
    for of, note in ((TEXT, _TEXT_ONLY), (EXECUTED, _ALL)):
        measures = (("global", f"{of}global@{k}"), ("local", f"{of}local@{k}"))
        yield picture(
            f"{of.replace('_', '-')}ar-ness-by-temperature",
            f"AR-ness@{k} of {_OF[of]} by temperature",
            "1 is left to right. Global: the share of tokens that were among the k left-most still masked. "
            f"Local: the share that came right after the k to their left. Here k is {k}. Lower at a higher "
            f"temperature means that the order varies more. {note} {_BARS}",
            _over_temperature(sides, topic, measures),
            "temperature",
            _SHARE,
        )


def ar_ness_by_k(side: Side, topic: Topic, suffix: str, title: str) -> Iterator[Picture]:
    """Draw AR-ness over k for one model: a line for each temperature."""
    measured = side.by_temperature(topic)
    for of, kind in product((TEXT, EXECUTED), ("global", "local")):
        how = (
            "A curve that is at 1 from a small k on leaves only few places open; a flat, low one writes far from "
            "the left edge. Never falls with k."
            if kind == "global"
            else "How long the runs are that are written without a gap. Of a random order it is near 0 at every k."
        )
        yield picture(
            f"{of.replace('_', '-')}{kind}-ar-ness-by-k{suffix}",
            f"{kind.capitalize()} AR-ness@k of {_OF[of]}{title}",
            f"{how} {_TEXT_ONLY if of == TEXT else _ALL}",
            [
                Series(
                    f"temperature {one.setting.temperature:g}",
                    [(k, e.value) for k in side.ks if (e := estimate(one.by_task(f"{of}{kind}@{k}"))) is not None],
                    1 + number % COLOURS,
                    "marks",
                )
                for number, one in enumerate(measured)
            ],
            "k",
            _SHARE,
        )


def tau(sides: Sequence[Side], topic: Topic) -> Picture:
    """Draw Kendall's tau over temperature."""
    return picture(
        "kendall-tau",
        "Kendall's tau of the order by temperature",
        "1 is left to right, 0 as much in order as out of it, -1 right to left. A text near 1 whose commits are "
        "far below it was written in order after its tail had been filled. Positions of one step are tied. "
        f"{_BARS}",
        _over_temperature(sides, topic, (("text", f"{TEXT}tau"), ("all commits", f"{EXECUTED}tau"))),
        "temperature",
        (-1.0, 1.0),
    )


def first_passage(sides: Sequence[Side], topic: Topic) -> Picture:
    """Draw average first-passage over temperature."""
    measures = (("text", f"{TEXT}first_passage"), ("all commits", f"{EXECUTED}first_passage"))
    return picture(
        "first-passage",
        "Average first-passage by temperature",
        "How much of the decoding has passed, on average over positions, until all up to a position is written: "
        f"about 0.5 from left to right, 1 where the first position comes last. {_BARS}",
        _over_temperature(sides, topic, measures),
        "temperature",
        _SHARE,
    )


def places(sides: Sequence[Side], topic: Topic) -> Picture:
    """Draw when each position is committed, on average."""
    series = []
    for number, side in enumerate(sides):
        for row, one in enumerate(_ends(side.by_temperature(topic))):
            counts, shares = one.committed.T
            points = [(float(k), shares[k] / counts[k]) for k in counts.nonzero()[0]]
            series.append(
                Series(
                    _named(side, sides, f"temperature {one.setting.temperature:g}"), points, _colour(number, row)
                )
            )
    return picture(
        "commit-by-position",
        "When each position is committed",
        "The mean share of the decoding that has passed when a position is committed, over the completions in "
        "which it is, commits behind the end of the text included. Left to right is a rising line; a tail that "
        "is low was filled first.",
        series,
        "position in the completion",
        _SHARE,
    )


def _ends(measured: Sequence[Measured]) -> list[Measured]:
    """The lowest and the highest temperature."""
    return [measured[0], measured[-1]] if len(measured) > 1 else list(measured)


def _over_temperature(sides: Sequence[Side], topic: Topic, measures: Sequence[tuple[str, str]]) -> list[Series]:
    series = []
    for number, side in enumerate(sides):
        for row, (name, measure) in enumerate(measures):
            points = [
                (one.setting.temperature, estimate(one.by_task(measure))) for one in side.by_temperature(topic)
            ]
            series.append(estimated(_named(side, sides, name), _colour(number, row), points))
    return series


def _named(side: Side, sides: Sequence[Side], name: str) -> str:
    return name if len(sides) == 1 else f"{side.label}: {name}"


def _colour(number: int, row: int) -> int:
    """Of the line ``row`` of a side."""
    return 1 + number + 2 * row
