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
_TEXT_ONLY = "The text: the positions up to the token that ends it."
_ALL = "All commits: every position that was written, those behind the end of the text included."
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
        "Higher is better. pass@1 is the share of samples that pass all tests, and pass@k the chance that at "
        "least one of k samples does. The gap between the lines grows with the diversity of the samples. "
        f"{_BARS}",
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
            "1 means left to right. Global: the share of tokens that were among the k left-most still masked. "
            "Local: the share whose k left neighbours are the k tokens that were written just before. Here k is "
            f"{k}. A line that falls with the temperature means that the order becomes freer. {note} {_BARS}",
            _over_temperature(sides, topic, measures),
            "temperature",
            _SHARE,
        )


def ar_ness_by_k(side: Side, topic: Topic, suffix: str, title: str) -> Iterator[Picture]:
    """Draw AR-ness over k for one model: a line for each temperature."""
    measured = side.by_temperature(topic)
    for of, kind in product((TEXT, EXECUTED), ("global", "local")):
        how = (
            "A curve that soon reaches 1 belongs to a model that always writes near the left-most masked "
            "position; one that stays low belongs to a model that writes far from it. The curve never falls "
            "with k."
            if kind == "global"
            else "The share of tokens whose k left neighbours are the k tokens that were written just before. A "
            "random order is near 0 at every k."
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
        "1 means left to right, -1 right to left, and 0 as many pairs in order as out of it. Where the text "
        "is near 1 and all commits are far lower, the tail was filled first and then the text was written in "
        f"order. Positions of one step are tied. {_BARS}",
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
        "How much of the decoding has passed, on average over positions, until a position and all to its left are "
        f"written. About 0.5 means left to right; 1 means that the first position came last. {_BARS}",
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
        "The share of the decoding that has passed when a position is committed: the mean over the completions in "
        "which it is committed, in or behind the text. A rising line means left to right. Where the line is low "
        "at its right end, the tail was filled first.",
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
