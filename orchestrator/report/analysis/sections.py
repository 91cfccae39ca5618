"""The sections of an analysis: figures, tables and gaps, put together for one benchmark and template."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from evaluation.analysis.measures import VARIANCE
from evaluation.analysis.program import Program
from evaluation.analysis.side import Side, Topic
from orchestrator.report.analysis import missing, order_figures
from orchestrator.report.analysis.confidence_figures import (
    confidence_spread,
    confidence_variance,
    entropy_sink,
    most_entropy,
)
from orchestrator.report.analysis.missing import Missing
from orchestrator.report.analysis.pictures import Picture
from orchestrator.report.analysis.steps_figures import steps_picture
from orchestrator.report.analysis.tables import (
    Table,
    first_steps_table,
    settings_table,
    steps_table,
    temperature_table,
)

HOW_TO_READ_A_PROGRAM = (
    "Each token stands where it is in the finished text, and is covered until the step that commits it; the "
    "newest are highlighted. The squares below are all positions of the completion, those behind the end of the "
    "text too: dark ones were committed early, light ones late, and outlined ones never. Play it, or drag the "
    "slider."
)


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    slug: str
    title: str
    lead: str = ""
    missing: tuple[Missing, ...] = ()
    pictures: tuple[Picture, ...] = ()
    tables: tuple[Table, ...] = ()
    programs: tuple[Program, ...] = ()


@dataclass(frozen=True)
class Chapter:
    """What is shown of a topic; ``extra`` are tables that are files alone."""

    slug: str
    title: str
    sections: tuple[Section, ...]
    extra: tuple[Table, ...]

    @property
    def pictures(self) -> list[Picture]:
        """All figures, with names of their own among those of all chapters."""
        return [replace(one, name=f"{self.slug}-{one.name}") for part in self.sections for one in part.pictures]

    @property
    def tables(self) -> list[Table]:
        """All tables, with names of their own among those of all chapters."""
        found = [one for part in self.sections for one in part.tables]
        return [replace(one, name=f"{self.slug}-{one.name}") for one in (*found, *self.extra)]


def chapter(sides: Sequence[Side], topic: Topic, programs: Sequence[Program], gaps: Sequence[Missing]) -> Chapter:
    """Put together what there is of a topic; ``gaps`` are those of the programs. Sides without samples of it are
    left out."""
    there = [side for side in sides if side.settings(topic)]
    absent = tuple(
        Missing(f"{side.label}: has no samples of {topic.benchmark} with the template {topic.template}.")
        for side in sides
        if side not in there
    )
    sections = (
        replace(part := _rates(there, topic), missing=(*absent, *part.missing)),
        _ar_ness(there, topic),
        _order(there, topic),
        _confidence(there, topic),
        _steps(there, topic),
        _temperatures(there, topic),
        Section(
            "program", "One program, step by step", HOW_TO_READ_A_PROGRAM, tuple(gaps), programs=tuple(programs)
        ),
        Section("settings", "All measures", tables=(settings_table(there, topic),)),
    )
    return Chapter(
        slug=re.sub(r"[^\w.-]+", "-", f"{topic.benchmark}-{topic.template}"),
        title=f"{topic.benchmark}, template {topic.template}",
        sections=sections,
        extra=(first_steps_table(there, topic),),
    )


def _rates(sides: Sequence[Side], topic: Topic) -> Section:
    pictures = [
        order_figures.pass_rates(sides, topic),
        *order_figures.ar_ness_by_temperature(sides, topic, sides[0].ks[0]),
    ]
    return Section(
        "temperature",
        "pass@k and AR-ness by temperature",
        missing=tuple(gap for side in sides for gap in missing.missing_rates(side, topic)),
        pictures=_drawn(pictures),
    )


def _ar_ness(sides: Sequence[Side], topic: Topic) -> Section:
    by_side = [
        list(order_figures.ar_ness_by_k(side, topic, *_named(number, side, sides)))
        for number, side in enumerate(sides, start=1)
    ]
    side_by_side = [one for row in zip(*by_side, strict=True) for one in row]
    return Section("ar-ness", "AR-ness at any k", pictures=_drawn(side_by_side))


def _order(sides: Sequence[Side], topic: Topic) -> Section:
    gaps = [
        gap for side in sides for gap in (*missing.missing_order(side, topic), *missing.missing_ends(side, topic))
    ]
    pictures = [
        order_figures.tau(sides, topic),
        order_figures.first_passage(sides, topic),
        order_figures.places(sides, topic),
    ]
    return Section("order", "Kendall's tau and first-passage", missing=tuple(gaps), pictures=_drawn(pictures))


def _confidence(sides: Sequence[Side], topic: Topic) -> Section:
    found = [(number, side, side.first_steps(topic)) for number, side in enumerate(sides, start=1)]
    most = most_entropy(one for _, _, one in found if one)
    by_side = [list(entropy_sink(one, most, *_named(number, side, sides))) for number, side, one in found if one]
    pictures = [one for row in zip(*by_side, strict=True) for one in row]
    pictures.append(confidence_spread([(side.label, one) for _, side, one in found if one]))
    if any(one.by_task(VARIANCE) for side in sides for one in side.settings(topic)):
        pictures.append(confidence_variance(sides, topic))
    return Section(
        "confidence",
        "Entropy sink and confidence",
        missing=tuple(gap for side in sides for gap in missing.missing_confidence(side, topic)),
        pictures=_drawn(pictures),
    )


def _steps(sides: Sequence[Side], topic: Topic) -> Section:
    return Section(
        "steps",
        "Fewer denoising steps",
        missing=tuple(gap for side in sides for gap in missing.missing_steps(side, topic)),
        pictures=_drawn([steps_picture([side for side in sides if not side.causal], topic)]),
        tables=_filled([steps_table([side for side in sides if not side.causal], topic)]),
    )


def _temperatures(sides: Sequence[Side], topic: Topic) -> Section:
    return Section(
        "optimum",
        "Optimal temperature",
        missing=tuple(gap for side in sides for gap in missing.missing_temperatures(side, topic)),
        tables=_filled([temperature_table(sides, topic)]),
    )


def _named(number: int, side: Side, sides: Sequence[Side]) -> tuple[str, str]:
    """What the files and the titles of a model's own figures end in."""
    return ("", "") if len(sides) == 1 else (f"-{number}", f": {side.label}")


def _drawn(pictures: Sequence[Picture]) -> tuple[Picture, ...]:
    return tuple(one for one in pictures if one.chart)


def _filled(tables: Sequence[Table]) -> tuple[Table, ...]:
    return tuple(one for one in tables if one.rows)
