"""How findings read, on the page, in Markdown and on the terminal alike."""

from __future__ import annotations

from math import isfinite

from evaluation.reproduction.claims import Unit
from evaluation.reproduction.findings import Finding
from evaluation.reproduction.statistics import Interval
from orchestrator.report.chart_numbers import percent, short


def amount(value: float, unit: Unit) -> str:
    """Write a share as a percentage, another number in about four characters."""
    return percent(value) if unit == "share" else short(value)


def with_interval(found: Interval | None, unit: Unit) -> str:
    """Write a mean and its 95 % interval, as ``58.2% (55.0% to 61.4%)``; a dash where there is none."""
    if found is None:
        return "–"
    if not isfinite(found.low):
        return amount(found.mean, unit)
    return f"{amount(found.mean, unit)} ({amount(found.low, unit)} to {amount(found.high, unit)})"


def sides(finding: Finding) -> list[tuple[str, str]]:
    """Return the two quantities and their paired difference, each with its title."""
    first, second = finding.statement.first, finding.statement.second
    return [
        (first.title, with_interval(finding.first, first.unit)),
        (second.title, with_interval(finding.second, second.unit)),
        ("difference", with_interval(finding.difference, first.unit)),
    ]


def seeds(finding: Finding) -> str:
    """Say how many seeds a finding is of."""
    count = len(finding.seeds)
    return "1 seed" if count == 1 else f"{count} seeds"
