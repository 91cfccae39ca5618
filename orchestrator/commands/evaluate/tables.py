"""summary.md and summary.csv: the tables of an evaluation, with the settings beside every score."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

from evaluation.evalplus import EvalPlusScore
from evaluation.results import Results
from evaluation.scores import BestTemperature, CellScore, SeedMean
from evaluation.settings import EvaluationSettings
from orchestrator.commands.evaluate.description import LEGEND, describe
from orchestrator.commands.evaluate.sections import AnyScore, Pair, Section, sections

_KINDS = {CellScore: "cell", SeedMean: "seeds", BestTemperature: "best", EvalPlusScore: "evalplus"}


def markdown(settings: EvaluationSettings, results: Results) -> str:
    """Write the settings and the tables as Markdown."""
    parts = ["```text", *describe(settings), "```", ""]
    for section in sections(settings, results, times=False):
        parts += [section.title, ""] if section.title else []
        parts += [*_table(section), ""]
    return "\n".join((*parts, LEGEND, ""))


def _table(section: Section) -> Iterator[str]:
    yield _row(section.headings)
    yield (
        "| "
        + " | ".join("---" if place < section.names else "---:" for place in range(len(section.headings)))
        + " |"
    )
    yield from map(_row, section.rows)


def _row(pairs: tuple[Pair, ...]) -> str:
    return (
        "| " + " | ".join(f"{one} ({under})" if under else one for one, under in pairs).replace("\n", " ") + " |"
    )


def comma_separated(settings: EvaluationSettings, results: Results) -> str:
    """Write every score as a row: of a ``cell``, over ``seeds``, of the ``best`` temperature, of ``evalplus``."""
    scores: list[AnyScore] = [*results.scores, *results.means, *results.best, *results.evalplus]
    rows = [_flat(one) for one in scores]
    shared = _shared(settings)
    names = dict.fromkeys(name for row in rows for name in row)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [*names, *shared], lineterminator="\n")
    writer.writeheader()
    writer.writerows(row | shared for row in rows)
    return text.getvalue()


def _flat(score: AnyScore) -> dict[str, Any]:
    """Return the fields of a score, those by k and by name in columns of their own."""
    row: dict[str, Any] = {"row": _KINDS[type(score)]}
    for name, value in vars(score).items():
        if name == "intervals":
            for k, interval in value.items():
                row[f"pass@{k}_low"], row[f"pass@{k}_high"] = interval or (None, None)
        elif name == "pass_at":
            row |= {f"pass@{k}": share for k, share in value.items()}
        elif name in ("deviations", "chosen"):
            row |= {f"pass@{k}_{'deviation' if name == 'deviations' else 'at'}": one for k, one in value.items()}
        elif isinstance(value, dict):
            row |= value
        else:
            row[name] = " ".join(map(str, value)) if isinstance(value, tuple) else value
    return row


def _shared(settings: EvaluationSettings) -> dict[str, Any]:
    """Return the settings that all cells have in common."""
    own = {"temperature", "denoising_steps"}
    model = settings.model
    shared = {
        "model": model.path,
        "engine": settings.engine,
        "dtype": model.dtype,
        "samples_a_task": settings.samples,
    }
    return shared | settings.cells[0].sampler.model_dump(exclude=own)
