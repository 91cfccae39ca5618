"""What `couplet score` prints and writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from common.records import Verdict
from orchestrator.commands.score.completions import Sample
from orchestrator.report.text import one_line
from reward_service.results import Scored

_MARKS: Mapping[Verdict, tuple[str, str]] = {
    Verdict.PASSED: (".", "green"),
    Verdict.FAILED: ("F", "red"),
    Verdict.ERROR: ("E", "red"),
    Verdict.TIMEOUT: ("T", "yellow"),
    Verdict.MEMORY: ("M", "yellow"),
    Verdict.OUTPUT: ("O", "yellow"),
    Verdict.INFRA: ("I", "magenta"),
    Verdict.SKIPPED: ("s", "dim"),
}
_NOTE_CHARS = 120


@dataclass(frozen=True)
class Result:
    """A completion and what became of it: scored, or not because of ``error``."""

    sample: Sample
    scored: Scored | None
    error: str = ""

    def as_record(self) -> dict[str, Any]:
        """One line of the output."""
        record: dict[str, Any] = {
            "task_id": self.sample.task.id,
            "number": self.sample.number,
            "place": self.sample.place,
        }
        if self.scored is None:
            return record | {"error": self.error}
        score = self.scored.score
        return record | {
            "reward": score.reward,
            "components": score.components,
            "passed": score.passed,
            "excluded": score.excluded,
            "forgeable": score.forgeable,
            "tests": [
                {
                    "verdict": report.verdict.value,
                    "note": report.note,
                    "cpu_s": round(report.cpu_s, 6),
                    "wall_s": round(report.wall_s, 6),
                }
                for report in self.scored.tests
            ],
        }


def summarise(results: Sequence[Result], seconds: float, executions: int) -> dict[str, Any]:
    """Figures over all completions. Shares, as (part, whole), are of what was scored and not excluded."""
    scored = [result.scored for result in results if result.scored is not None]
    counted = [one.score for one in scored if not one.score.excluded]
    verdicts = Counter(verdict for one in scored for verdict in one.score.verdicts)
    ran = [verdict for score in counted for verdict in score.verdicts if verdict is not Verdict.SKIPPED]
    return {
        "tasks": len({result.sample.task.id for result in results}),
        "completions": len(results),
        "not scored": len(results) - len(scored),
        "tests passed": (sum(verdict is Verdict.PASSED for verdict in ran), len(ran)),
        "all tests passed": (sum(score.passed for score in counted), len(counted)),
        "mean reward": sum(score.reward for score in counted) / len(counted) if counted else None,
        "verdicts": {verdict.value: verdicts[verdict] for verdict in Verdict if verdicts[verdict]},
        "forgeable": sum(one.score.forgeable for one in scored),
        "excluded": len(scored) - len(counted),
        "seconds": seconds,
        "programs run": executions,
    }


def summary_table(summary: Mapping[str, Any]) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    rows: dict[str, str] = {"tasks": str(summary["tasks"]), "completions": str(summary["completions"])}
    if summary["not scored"]:
        rows["not scored"] = str(summary["not scored"])
    rows["tests passed"] = _percent(summary["tests passed"])
    rows["all tests passed"] = _percent(summary["all tests passed"])
    rows["mean reward"] = "-" if summary["mean reward"] is None else f"{summary['mean reward']:.4f}"
    rows["verdicts"] = ", ".join(f"{count} {name}" for name, count in summary["verdicts"].items()) or "-"
    rows["forgeable"], rows["excluded"] = str(summary["forgeable"]), str(summary["excluded"])
    rate = summary["programs run"] / max(summary["seconds"], 1e-9)
    rows["time"] = f"{summary['seconds']:.2f} s, {summary['programs run']} programs run, {rate:.0f} a second"
    for name, text in rows.items():
        table.add_row(name, text)
    return table


def completions_table(results: Sequence[Result]) -> Table:
    """A line for each completion: its reward, a mark for each test, and why the first one failed."""
    table = Table(box=None, pad_edge=False)
    for name in ("completion", "reward", "tests", "first failure"):
        table.add_column(name, overflow="fold", justify="right" if name == "reward" else "left")
    for result in results:
        title = Text(f"{result.sample.task.id} #{result.sample.number}")
        if result.scored is None:
            table.add_row(title, "-", Text("not scored"), Text(one_line(result.error, _NOTE_CHARS)))
            continue
        score = result.scored.score
        marks = Text.assemble(*(_MARKS[verdict] for verdict in score.verdicts))
        reward = "excluded" if score.excluded else f"{score.reward:.3f}"
        table.add_row(title, reward, marks, _first_failure(result.scored))
    table.caption = ", ".join(f"{mark} {verdict.value}" for verdict, (mark, _) in _MARKS.items())
    table.caption_justify = "left"
    return table


def _first_failure(scored: Scored) -> Text:
    failed = next((r for r in scored.tests if r.verdict not in (Verdict.PASSED, Verdict.SKIPPED)), None)
    if failed is None:
        return Text("")
    note = one_line(failed.note, _NOTE_CHARS)
    return Text(f"{failed.verdict.value}: {note}" if note else failed.verdict.value)


def _percent(share: tuple[int, int]) -> str:
    part, whole = share
    return f"{part / whole:.1%} ({part} of {whole})" if whole else "-"
