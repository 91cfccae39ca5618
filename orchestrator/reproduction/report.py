"""What a reproduction shows: a page, Markdown with the same tables, and a figure for every claim with curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from evaluation.reproduction.claims import UNTESTABLE, Claim
from evaluation.reproduction.findings import Arm, Finding, arms, course, judge, verdict
from evaluation.reproduction.results import Results
from evaluation.reproduction.rules import Rule, Verdict
from orchestrator.report.chart_numbers import count
from orchestrator.report.charts import COLOURS, Series, line_chart
from orchestrator.report.figure import write_chart
from orchestrator.report.page import replace_text, write_page
from orchestrator.reproduction import wording
from orchestrator.reproduction.png import write_png

_WIDTH, _HEIGHT = 1140, 320
#: Axes of the figures: the key of a curve, its name on the axis, and what one unit of it is.
_AXES = (("updates", "updates", 1.0), ("tokens", "compute, million tokens", 1e6))
_COSTS = ("updates", "samples", "tokens", "seconds")
_SOLVED = "share of training completions that pass their tests, mean and 95 % interval over the seeds"


@dataclass(frozen=True)
class Chart:
    """Curves of a claim over one axis: ``key`` names its files, ``legend`` has colour and name of every line."""

    key: str
    title: str
    x_name: str
    series: tuple[Series, ...]

    @property
    def legend(self) -> list[tuple[int, str]]:
        return [(one.colour, one.name) for one in self.series]

    @property
    def svg(self) -> str:
        return line_chart(
            self.series, title=f"{self.title}: {_SOLVED}", width=_WIDTH, height=_HEIGHT, x_name=self.x_name
        )


@dataclass(frozen=True)
class Section:
    """A claim with everything that is known of it."""

    claim: Claim
    verdict: str
    findings: tuple[Finding, ...]
    arms: tuple[Arm, ...]
    charts: tuple[Chart, ...]

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
    figures = folder / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    for chart in (chart for part in parts for chart in part.charts):
        write_chart(figures / f"{chart.key}.svg", chart.title, _SOLVED, chart.series, chart.x_name)
        write_png(figures / f"{chart.key}.png", f"{chart.title}: {_SOLVED}", chart.series, chart.x_name)
    replace_text(folder / "report.md", markdown(parts, about))
    view = {
        "sections": parts,
        "about": about,
        "untestable": UNTESTABLE,
        "solved": _SOLVED,
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


def _charts(claim: Claim, results: Results) -> tuple[Chart, ...]:
    """Draw what fits: as many arms as there are colours, or a figure for each so many."""
    charts = []
    for first in range(0, len(claim.curves), COLOURS):
        part = claim.curves[first : first + COLOURS]
        for axis, name, unit in _AXES:
            series = []
            for colour, training in enumerate(part, start=1):
                points = course(training, results, axis, "solved")
                band = [
                    (point.x / unit, max(point.y.low, 0.0), min(point.y.high, 1.0))
                    for point in points
                    if isfinite(point.y.low)
                ]
                line = [(point.x / unit, point.y.mean) for point in points]
                series.append(Series(training.title, line, colour, band=band))
            if any(one.points for one in series):
                number = f"-{first // COLOURS + 1}" if len(claim.curves) > COLOURS else ""
                title = f"{claim.name}, by {name}"
                charts.append(Chart(f"{claim.name}{number}-by-{axis}", title, name, tuple(series)))
    return tuple(charts)
