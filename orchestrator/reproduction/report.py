"""What a reproduction shows: a page, Markdown with the same tables, and a figure for every claim with curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from evaluation.reproduction.claims import UNTESTABLE, Claim
from evaluation.reproduction.findings import Arm, Finding, Point, arms, course, judge, verdict
from evaluation.reproduction.jobs import Training
from evaluation.reproduction.results import Results
from evaluation.reproduction.rules import Rule, Verdict
from orchestrator.report.analysis.pictures import Picture, picture, write_picture
from orchestrator.report.chart_numbers import count
from orchestrator.report.charts import COLOURS, Series
from orchestrator.report.page import replace_text, write_page
from orchestrator.reproduction import wording

#: Axes of the figures: the key of a curve, its name on the axis, and what one unit of it is.
_AXES = (("updates", "updates", 1.0), ("tokens", "compute, million tokens", 1e6))
_COSTS = ("updates", "samples", "tokens", "seconds")
_SOLVED = "Share of training completions that pass their tests: mean and 95 % interval over the seeds."


@dataclass(frozen=True)
class Section:
    """A claim with everything that is known of it."""

    claim: Claim
    verdict: str
    findings: tuple[Finding, ...]
    arms: tuple[Arm, ...]
    charts: tuple[Picture, ...]

    @property
    def rules(self) -> list[Rule]:
        """The rules of its statements, each once."""
        return list(dict.fromkeys(finding.statement.rule for finding in self.findings))


def sections(claims: Sequence[Claim], results: Results) -> list[Section]:
    """Judge the claims by the results that are there."""
    found = []
    for claim in claims:
        findings = tuple(judge(statement, results) for statement in claim.statements)
        found.append(
            Section(claim, verdict(findings), findings, tuple(arms(claim, results)), _charts(claim, results))
        )
    return found


def write_report(folder: Path, parts: Sequence[Section], about: Mapping[str, str]) -> Path:
    """Write ``report.html``, ``report.md`` and ``figures/`` into ``folder``; return the page.

    ``about`` says what the results depend on: commit, date, machine, command. Raises OSError.
    """
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    for chart in (chart for part in parts for chart in part.charts):
        write_picture(folder / "figures", chart)
    replace_text(folder / "report.md", markdown(parts, about))
    view = {
        "sections": parts,
        "about": about,
        "untestable": UNTESTABLE,
        "wording": wording,
        "good": Verdict.REPRODUCED,
        "written": about["written"],
    }
    return write_page("reproduction.html", view, folder / "report.html")


def markdown(parts: Sequence[Section], about: Mapping[str, str]) -> str:
    """Return the findings as Markdown."""
    lines = [_header("", ""), *(f"| {name} | {value} |" for name, value in about.items()), ""]
    for part in parts:
        lines += [f"## {part.claim.title}", "", f"`{part.claim.name}`: **{part.verdict}**. {part.claim.about}", ""]
        lines += [f"Rule *{rule.name}*: reproduced if {rule.sentence}." for rule in part.rules]
        lines += ["", _header("statement", "source", "rule", "measured", "difference", "verdict")]
        lines += [_row(finding) for finding in part.findings]
        lines.append("")
        if part.arms:
            lines += [
                _header("arm", "seeds", "held-out, greedy", "solved in training, last quarter", *_COSTS),
                *map(_arm_row, part.arms),
                "",
            ]
    lines += ["## Not testable here", "", _header("claim", "source", "why")]
    lines += [f"| {one.text} | {one.source} | {one.reason} |" for one in UNTESTABLE]
    return "\n".join(lines) + "\n"


def _header(*names: str) -> str:
    return f"| {' | '.join(names)} |\n|{' --- |' * len(names)}"


def _row(finding: Finding) -> str:
    (first, one), (second, other), (_, difference) = wording.sides(finding)
    decision = finding.decision
    cells = (
        finding.statement.text,
        finding.statement.source,
        finding.statement.rule.name,
        f"{first}: {one}; {second}: {other}",
        f"{difference}, {wording.seeds(finding)}",
        f"**{decision.verdict}**: {decision.reason}",
    )
    return f"| {' | '.join(cells)} |"


def _arm_row(arm: Arm) -> str:
    cells = (
        arm.training.title,
        str(arm.seeds),
        wording.with_interval(arm.held_out, "share"),
        wording.with_interval(arm.solved_end, "share"),
        f"{arm.updates:.0f}",
        f"{arm.samples:.0f}",
        count(arm.tokens),
        f"{arm.seconds:.0f}",
    )
    return f"| {' | '.join(cells)} |"


def _charts(claim: Claim, results: Results) -> tuple[Picture, ...]:
    """Draw what fits: as many arms as there are colours, or a figure for each so many."""
    pictures = []
    for first in range(0, len(claim.curves), COLOURS):
        number = f"-{first // COLOURS + 1}" if len(claim.curves) > COLOURS else ""
        arms_shown = list(enumerate(claim.curves[first : first + COLOURS], start=1))
        for axis, x_name, unit in _AXES:
            series = [_line(arm, colour, course(arm, results, axis, "solved"), unit) for colour, arm in arms_shown]
            title = f"{claim.name}{number.replace('-', ' ')}, by {x_name.partition(',')[0]}"
            pictures.append(picture(f"{claim.name}{number}-by-{axis}", title, _SOLVED, series, x_name))
    return tuple(one for one in pictures if one.chart)


def _line(arm: Training, colour: int, points: Sequence[Point], unit: float) -> Series:
    band = [
        (point.x / unit, max(point.y.low, 0.0), min(point.y.high, 1.0))
        for point in points
        if isfinite(point.y.low)
    ]
    return Series(arm.title, [(point.x / unit, point.y.mean) for point in points], colour, band=band)
