"""The report of a run of reinforcement learning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.report import panels
from orchestrator.report.growing_lines import Record, is_number
from orchestrator.report.recorded_run import RecordedRun
from orchestrator.report.verdicts import chance, changed, families, is_complete

_SAMPLED_STEPS, _SAMPLES_PER_STEP = 60, 4


def run_view(run: RecordedRun) -> dict[str, Any]:
    """Return what the template ``report.html`` shows of a run of reinforcement learning."""
    before, after = run.before, run.after
    gained, lost = changed(before, after, passes=True), changed(before, after, passes=False)
    reward = panels.reward_panel(run)
    return {
        "before": before,
        "after": after,
        "rewards": run.ends("reward/mean"),
        "gained": gained,
        "lost": lost,
        "chance": chance(len(gained), len(lost)) if is_complete(before) and is_complete(after) else None,
        "families": families(before, after),
        "reward": [chart for chart in (reward, *panels.component_panels(run)) if chart.svg],
        "pass_rate": panels.pass_rate_panel(run),
        "learning": panels.draw(run, panels.LEARNING),
        "order": panels.order_panel(run),
        "order_meaning": panels.order_meaning(),
        "diffusion": panels.draw(run, panels.DIFFUSION),
        "policy": panels.draw(run, panels.POLICY),
        "time": panels.time_panel(run),
        "system": panels.draw(run, panels.SYSTEM),
        "constants": panels.constants(run, (*panels.LEARNING, *panels.DIFFUSION, *panels.POLICY, *panels.SYSTEM)),
        "samples": _samples(run.samples),
        "sample_limits": (_SAMPLED_STEPS, _SAMPLES_PER_STEP),
    }


def _samples(records: Sequence[Record]) -> list[tuple[int, list[Record]]]:
    by_step: dict[int, list[Record]] = {}
    for record in records:
        if is_number(record.get("step")):
            by_step.setdefault(int(record["step"]), []).append(record)
    steps = sorted(by_step)
    count = min(len(steps), _SAMPLED_STEPS)
    chosen = [steps[round(i * (len(steps) - 1) / max(count - 1, 1))] for i in range(count)]
    return [(step, by_step[step][:_SAMPLES_PER_STEP]) for step in chosen]
