"""The report of one run: an HTML file that loads nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestrator.report import panels
from orchestrator.report.page import write_page
from orchestrator.report.recorded_run import Record, RecordedRun, is_number, read_run
from orchestrator.report.verdicts import chance, changed, families, is_complete

_SAMPLED_STEPS, _SAMPLES_PER_STEP = 60, 4


def write_report(run_folder: Path, path: Path | None = None) -> Path:
    """Write the report of a run, finished or not, and return its path: ``report.html`` in the folder, or ``path``.

    Raises OSError.
    """
    return write_page("report.html", _view(read_run(run_folder)), path or run_folder / "report.html")


def _view(run: RecordedRun) -> dict[str, Any]:
    before, after = run.before, run.after
    gained, lost = changed(before, after, passes=True), changed(before, after, passes=False)
    reward = panels.reward_panel(run)
    return {
        "name": run.name,
        "run": run.run,
        "status": run.status,
        "summary": run.summary,
        "damage": run.damage,
        "written": datetime.now().astimezone().isoformat(" ", "seconds"),
        "updates": len(run.metrics),
        "planned": run.steps_planned,
        "window": panels.window(len(run.metrics)),
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
        "config": run.config_text,
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
