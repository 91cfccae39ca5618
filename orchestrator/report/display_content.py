"""What a display shows of a kind of run: its numbers, its two charts, and how it tells an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from common.metrics.stages import HELD_OUT_AT_T
from orchestrator.report.chart_numbers import count, percent, short

Metrics = Mapping[str, float]


class Figure(NamedTuple):
    """A metric by its key in metrics.jsonl, what it is called, and how it is written."""

    name: str
    key: str
    write: Callable[[float], str] = short

    def value(self, metrics: Metrics) -> str:
        """Return the metric as text, ``-`` where it is missing."""
        value = metrics.get(self.key)
        return "-" if value is None else self.write(value)


class ChartContent(NamedTuple):
    """A chart of the live display: a line over steps, marks of evaluations, or both.

    ``span``: the range of the y axis; None takes that of the values.
    """

    title: str
    line: str = ""
    marks: str = ""
    span: tuple[float, float] | None = None
    write: Callable[[float], str] = short


@dataclass(frozen=True)
class DisplayContent:
    """``figures``: the most important first, as a narrow line has room for a few only.

    ``held_out``: the metric of an evaluation that is told in words. ``times``: parts of a step's ``seconds/``, and
    their colours.
    """

    figures: tuple[Figure, ...]
    charts: tuple[ChartContent, ChartContent]
    held_out: Figure
    times: tuple[tuple[str, str], ...]


REINFORCEMENT = DisplayContent(
    figures=(
        Figure("reward", "reward/mean"),
        Figure("solved", "reward/solved", percent),
        Figure("tests passed", "reward/pass_rate", percent),
        Figure("KL", "policy/kl"),
        Figure("test reward", "reward/tests"),
        Figure("zero variance", "groups/zero_variance"),
        Figure("clipped tokens", "policy/clip_fraction", percent),
        Figure("format reward", "reward/format"),
        Figure("groups trained", "groups/trained"),
        Figure("gradient norm", "optim/grad_norm"),
        Figure("samples/s", "perf/samples_per_second"),
        Figure("staleness", "staleness/mean"),
        Figure("restarts", "restarts"),
    ),
    charts=(
        ChartContent("reward", "reward/mean"),
        ChartContent("samples passing", "reward/solved", "evaluation/pass_rate", (0.0, 1.0), percent),
    ),
    held_out=Figure("held-out pass rate", "evaluation/pass_rate", percent),
    # Waiting is for rollouts and their rewards.
    times=(("wait", "blue"), ("update", "green"), ("weights", "magenta"), ("checkpoint", "white")),
)
STAGE = DisplayContent(
    figures=(
        Figure("loss", "denoising/loss"),
        Figure("tokens/s", "perf/tokens_per_second", count),
        Figure("epochs", "data/epochs"),
        Figure("learning rate", "optim/learning_rate"),
        Figure("tokens", "data/tokens", count),
        Figure("gradient norm", "optim/grad_norm"),
        Figure("MFU", "perf/mfu", percent),
        Figure("masked", "denoising/masked_share", percent),
        Figure("visible", "denoising/visible_share", percent),
        Figure("restarts", "restarts"),
    ),
    charts=(ChartContent("loss", "denoising/loss"), ChartContent("held-out loss", marks="held_out/loss")),
    held_out=Figure("held-out loss", "held_out/loss"),
    times=(("forward_backward", "blue"), ("optimizer", "green"), ("checkpoint", "white")),
)


def losses_by_ratio(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the held-out losses of an evaluation by the ratio that they were measured at, the smallest first.

    What is no such loss, in the record of an evaluation, is left out.
    """
    found = {
        key.removeprefix(HELD_OUT_AT_T): value for key, value in metrics.items() if key.startswith(HELD_OUT_AT_T)
    }
    return dict(sorted(found.items(), key=lambda item: float(item[0])))
