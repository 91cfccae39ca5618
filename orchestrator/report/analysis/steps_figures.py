"""The figure of fewer denoising steps, and what of L, L/2 and L/4 there is."""

from __future__ import annotations

from collections.abc import Sequence

from evaluation.analysis.choices import compare_steps
from evaluation.analysis.side import Side, Topic
from orchestrator.report.analysis.pictures import Picture, estimated, picture
from orchestrator.report.charts import COLOURS, Series

_FRACTIONS = (1, 2, 4)


def steps_picture(sides: Sequence[Side], topic: Topic) -> Picture:
    """Draw pass@1 over the number of denoising steps."""
    series: list[Series] = []
    for side in sides:
        for temperature, measured in side.by_steps(topic).items():
            rows = compare_steps(measured, 1)
            name = (
                f"temperature {temperature:g}" if len(sides) == 1 else f"{side.label}: temperature {temperature:g}"
            )
            points = [(float(row.steps), row.rate) for row in sorted(rows, key=lambda row: row.steps)]
            series.append(estimated(name, 1 + len(series) % COLOURS, points))
    return picture(
        "denoising-steps",
        "pass@1 by denoising steps",
        "With half the steps a forward pass writes two tokens, with a quarter four. A flat line means that "
        "fewer steps cost nothing; the paper reports a flatter line after reinforcement learning. Bars are 95 "
        "% bootstrap intervals over tasks.",
        series,
        "denoising steps",
        (0.0, 1.0),
    )


def absent_steps(side: Side, topic: Topic) -> list[int]:
    """List which of L, L/2 and L/4 denoising steps an evaluation lacks, L being the tokens of a completion."""
    measured = side.settings(topic)
    length = max((one.length for one in measured), default=0)
    present = {one.setting.steps for one in measured}
    return [steps for part in _FRACTIONS if (steps := length // part) and steps not in present]
