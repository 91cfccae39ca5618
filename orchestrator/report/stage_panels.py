"""Which charts the report of a supervised stage has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from common.metrics.stages import HELD_OUT_AT_T, LOSS_AT_POSITION, LOSS_AT_T
from orchestrator.report.charts import Series, heat_map, line_chart
from orchestrator.report.display_content import losses_by_ratio
from orchestrator.report.panels import Chart, Panel, meaning, smoothed
from orchestrator.report.recorded_run import RecordedRun

LEARNING = (
    Panel("Masked tokens", ("denoising/masked_share",)),
    Panel("Positions that attention sees", ("denoising/visible_share",), exact=True),
    Panel("Gradient norm", ("optim/grad_norm",)),
    Panel("Learning rate", ("optim/learning_rate",), exact=True),
)
DATA = (
    Panel("Tokens read", ("data/tokens",), exact=True),
    Panel("Passes over the data", ("data/epochs",), exact=True),
    Panel("Tokens learned from", ("data/targets",)),
)
SPEED = (
    Panel("Tokens per second", ("perf/tokens_per_second",)),
    Panel("Model FLOP utilization", ("perf/mfu",)),
    Panel("Seconds of a step", ("seconds/step",)),
    Panel("Restarts", ("restarts",), exact=True),
)
#: The parts of a step's wall time.
TIME = ("seconds/forward_backward", "seconds/optimizer", "seconds/checkpoint")
_WIDTH, _HEIGHT = 1140, 300


class Heat(NamedTuple):
    """A heat map that was drawn, and what its colours mean, from ``coldest`` to ``hottest``."""

    title: str
    key: str
    meaning: str
    coldest: float
    hottest: float
    svg: Markup


def loss_panel(run: RecordedRun) -> Chart:
    """Draw the loss of the steps, weighed by 1/t."""
    series = smoothed(run, "denoising/loss", 2)
    svg = line_chart(series, title="Training loss", width=_WIDTH, height=_HEIGHT)
    legend = ((2, "denoising/loss", meaning("denoising/loss")),)
    return Chart("Training loss", legend, svg, wide=True)


def held_out_panel(run: RecordedRun) -> Chart:
    """Draw the held-out losses: a line for each ratio, and their mean."""
    keys = [HELD_OUT_AT_T + ratio for ratio in losses_by_ratio(run.before)]
    names = ["held_out/loss", *keys]
    series = [Series(_name(key), run.evaluated(key), colour, "marks") for colour, key in enumerate(names, start=1)]
    legend = tuple((each.colour, key, _meaning(key)) for each, key in zip(series, names, strict=True))
    svg = line_chart(series, title="Held-out loss", width=_WIDTH, height=_HEIGHT)
    return Chart("Held-out loss", legend, svg, wide=True)


def heat_by_ratio(run: RecordedRun) -> Heat:
    """Draw the loss of each tenth of the ratios over steps; the fewest masked tokens are on top."""
    names = [f"{tenth / 10:g}–{(tenth + 1) / 10:g}" for tenth in range(len(LOSS_AT_T))]
    return _heat(run, "Loss by ratio of masked tokens", LOSS_AT_T, names)


def heat_by_position(run: RecordedRun) -> Heat:
    """Draw the loss of each eighth of a segment over steps; its beginning is on top."""
    names = ["start", *(f"{i}/8" for i in range(2, len(LOSS_AT_POSITION))), "end"]
    return _heat(run, "Loss by position in the document", LOSS_AT_POSITION, names)


def _heat(run: RecordedRun, title: str, keys: Sequence[str], names: Sequence[str]) -> Heat:
    rows = [Series(name, run.points(key)) for name, key in zip(names, keys, strict=True)]
    losses = [y for row in rows for _, y in row.points if math.isfinite(y)] or [0.0]
    coldest, hottest = min(losses), max(losses)
    if coldest == hottest:
        hottest += 1.0
    svg = heat_map(rows, title=title, coldest=coldest, hottest=hottest)
    return Heat(title, keys[0].rpartition("/")[0] + "/*", meaning(keys[0]), coldest, hottest, svg)


def _name(key: str) -> str:
    return f"t = {key.removeprefix(HELD_OUT_AT_T)}" if key.startswith(HELD_OUT_AT_T) else "mean"


def _meaning(key: str) -> str:
    return meaning(key) if key == "held_out/loss" else f"{key.removeprefix(HELD_OUT_AT_T)} of the tokens masked"
