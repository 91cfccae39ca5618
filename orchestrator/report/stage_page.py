"""The report of a supervised stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from orchestrator.report import panels, stage_panels
from orchestrator.report.display_content import losses_by_ratio
from orchestrator.report.growing_lines import is_number
from orchestrator.report.recorded_run import RecordedRun


class LossRow(NamedTuple):
    """Held-out losses at one ratio; ``after`` is None where there is only one evaluation."""

    ratio: str
    before: float
    after: float | None


def stage_view(run: RecordedRun) -> dict[str, Any]:
    """Return what the template ``stage_report.html`` shows of a run."""
    groups = (stage_panels.LEARNING, stage_panels.DATA, stage_panels.SPEED)
    learning, data, speed = (panels.draw(run, group) for group in groups)
    heats = (stage_panels.heat_by_ratio(run), stage_panels.heat_by_position(run))
    return {
        "stage": run.stage,
        "before": run.before.get("held_out/loss"),
        "after": run.after.get("held_out/loss"),
        "losses": _loss_rows(run),
        "last": run.metrics[-1] if run.metrics else {},
        "loss": stage_panels.loss_panel(run),
        "held_out": stage_panels.held_out_panel(run),
        "heats": [heat for heat in heats if heat.svg],
        "learning": learning,
        "data": data,
        "speed": speed,
        "time": panels.time_panel(run, stage_panels.TIME),
        "constants": panels.constants(run, [panel for group in groups for panel in group]),
        "sources": _sources(run.corpus),
        "corpus": {key: value for key, value in run.corpus.items() if is_number(value)},
    }


def _loss_rows(run: RecordedRun) -> list[LossRow]:
    before, after = losses_by_ratio(run.before), losses_by_ratio(run.after)
    return [LossRow(ratio, loss, after.get(ratio)) for ratio, loss in before.items()]


def _sources(corpus: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    sources = corpus.get("sources")
    return [each for each in sources if isinstance(each, Mapping)] if isinstance(sources, list) else []
