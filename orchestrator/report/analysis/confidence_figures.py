"""The figures of confidence: by position at the first steps, and its variance along a completion."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from evaluation.analysis.confidence import FirstSteps, StepConfidence
from evaluation.analysis.estimates import estimate
from evaluation.analysis.measures import VARIANCE
from evaluation.analysis.side import Side, Topic
from orchestrator.report.analysis.pictures import Picture, estimated, picture
from orchestrator.report.charts import Series

_SHOWN = (0, 1, 3, 7)


def entropy_sink(found: FirstSteps, most: float, suffix: str, title: str) -> Iterator[Picture]:
    """Draw confidence and entropy by position at the first steps; the axis of the entropy goes to ``most``."""
    steps = [step for step in found.steps if step.step in _SHOWN]
    yield picture(
        f"entropy-sink{suffix}",
        f"Confidence by position at the first steps{title}",
        "The probability of the likeliest token at each position that is still masked: the mean over tasks, with "
        "a band of one standard deviation around the first step. The entropy sink is a confidence that is high "
        "right behind the prompt and low after it: the model writes those positions first, whatever the text. A "
        "position that every completion has written has no point.",
        [_confidence(step, colour) for colour, step in enumerate(steps, start=1)],
        "position in the completion",
        (0.0, 1.0),
    )
    yield picture(
        f"entropy-by-position{suffix}",
        f"Entropy by position at the first steps{title}",
        "The entropy in nats of what the model predicts at each position that is still masked, at temperature "
        "1, mean over tasks. A decoder that goes by entropy writes the lowest first.",
        [Series(_step(step), _points(step.entropy), colour) for colour, step in enumerate(steps, start=1)],
        "position in the completion",
        (0.0, most),
    )


def most_entropy(found: Iterable[FirstSteps]) -> float:
    """Return the largest entropy of all, so that figures side by side have one axis."""
    values = (value for one in found for step in one.steps for value in step.entropy if value is not None)
    return max(values, default=1.0)


def confidence_spread(found: Sequence[tuple[str, FirstSteps]]) -> Picture:
    """Draw how unequal the confidences of the masked positions are, step by step."""
    return picture(
        "confidence-spread",
        "Variance of confidence over positions",
        "The variance of the confidence over the positions that are still masked, at each of the first steps: the "
        "mean over tasks. A high variance means that the model is surer of some positions than of others, which "
        "decides the order. Near 0 it is equally sure of all, and the order is close to chance.",
        [
            Series(label, [(step.step + 1.0, step.spread) for step in one.steps], colour, "marks")
            for colour, (label, one) in enumerate(found, start=1)
        ],
        "denoising step",
    )


def confidence_variance(sides: Sequence[Side], topic: Topic) -> Picture:
    """Draw the variance of the log-probabilities along a completion, of those that pass and those that fail."""
    series = []
    for number, side in enumerate(sides):
        for row, verdict in enumerate(("passed", "failed")):
            points = [
                (one.setting.temperature, estimate(one.by_task(f"{VARIANCE}_{verdict}")))
                for one in side.by_temperature(topic)
            ]
            name = verdict if len(sides) == 1 else f"{side.label}: {verdict}"
            series.append(estimated(name, 1 + number + 2 * row, points))
    return picture(
        "confidence-variance",
        "Confidence variance of completions that pass and that fail",
        "The variance, over the tokens of a text, of the log-probability that each had when it was committed "
        "(of the model, at temperature 1). A low variance means that the model was about equally sure of all "
        "tokens. A gap between the lines means that the variance tells right from wrong texts. Bars are 95 % "
        "bootstrap intervals over tasks.",
        series,
        "temperature",
    )


def _confidence(step: StepConfidence, colour: int) -> Series:
    points = _points(step.mean)
    if step.step:
        return Series(_step(step), points, colour)
    band = [
        (float(k), max(0.0, mean - variance**0.5), min(1.0, mean + variance**0.5))
        for k, (mean, variance) in enumerate(zip(step.mean, step.variance, strict=True))
        if mean is not None and variance is not None
    ]
    return Series(_step(step), points, colour, band=band)


def _points(values: Sequence[float | None]) -> list[tuple[float, float]]:
    return [(float(k), value) for k, value in enumerate(values) if value is not None]


def _step(step: StepConfidence) -> str:
    return f"step {step.step + 1}" + (", nothing written yet" if not step.step else "")
