"""Everything that an analysis leaves in its folder: the page, the figures, the tables and the program."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from common.models.causal import CausalModel, is_causal_model
from common.models.families import ModelError
from common.models.folder import load_tokenizer
from evaluation.analysis.program import Program, check_task, program_of, same_task
from evaluation.analysis.side import Side, Topic
from orchestrator.report.analysis.missing import Missing
from orchestrator.report.analysis.pictures import has_fonts, write_picture, write_svg
from orchestrator.report.analysis.sections import HOW_TO_READ_A_PROGRAM, Chapter, chapter
from orchestrator.report.analysis.tables import shown, write_tables
from orchestrator.report.analysis.unmasking import animated_svg
from orchestrator.report.page import write_page

_STYLES = ("report.css", "player.css", "analysis.css")
_SCRIPTS = ("report.js", "player.js")

_NO_FONTS = (
    "no fonts are installed here, so the PNG figures have no text; install some (Debian: fonts-dejavu-core), and "
    "analyze again"
)

DEFINITIONS = (
    (
        "Text and all commits",
        "To commit a position is to write its token for good. The text of a completion ends at the first "
        "end-of-text token. The order of the text has the positions up to there; the order of all commits "
        "(executed_ in tables) also has those behind it, which the model may fill first. Decoding stops as "
        "soon as the text is whole, so some positions are never committed: AR-ness counts them as masked, and "
        "the other measures leave them out.",
    ),
    (
        "Global AR-ness@k",
        "The share of tokens that were among the k left-most still masked when they were committed (DiffuCoder, "
        "appendix A.2).",
    ),
    (
        "Local AR-ness@k",
        "The share of tokens whose k left neighbours are, in any order, the k tokens committed just before. "
        "Tokens with fewer than k before them are left out. In both measures several tokens of one step count "
        "as written from left to right.",
    ),
    (
        "Kendall's tau",
        "Tau-b between position and step: the pairs of positions that were committed in order minus those out "
        "of order, divided by the geometric mean of the number of all pairs and that of the pairs of "
        "different steps.",
    ),
    (
        "Average first-passage",
        "Number the steps that commit something 1 to S. The first passage of a position is the step after "
        "which it and all positions to its left are committed. The measure is the mean of this over "
        "positions, divided by S.",
    ),
    (
        "Confidence variance",
        "The variance of log q over the tokens of a text, where q is the probability that the model, at "
        "temperature 1, gave the token when it was committed (arXiv 2606.00997).",
    ),
)


@dataclass(frozen=True)
class Written:
    """What was written: the page, and all files. ``note`` says what is wrong with them, or is empty."""

    page: Path
    chapters: tuple[Chapter, ...]
    files: tuple[Path, ...]
    note: str


def write_analysis(
    sides: Sequence[Side],
    folder: Path,
    task_id: str | None = None,
    done: Callable[[str], None] = lambda what: None,
) -> Written:
    """Write the analysis of one evaluation, or of two side by side, and return what was written.

    ``task_id`` names the program that is drawn [the first that passes]. ``done`` hears what is being written.
    Raises UserError for a task that there is none of, and OSError.
    """
    if task_id is not None:
        check_task((found for side in sides for found in side.examples.values()), task_id)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizers = {side.label: _tokenizer(side.evaluation.settings.model.path) for side in sides}
    topics = list(dict.fromkeys(topic for side in sides for topic in side.topics()))
    chapters: list[Chapter] = []
    files: list[Path] = []
    for topic in topics:
        programs, gaps = _programs(sides, topic, task_id, tokenizers)
        found = chapter(sides, topic, programs, gaps)
        chapters.append(found)
        for one in found.pictures:
            done(one.name)
            files += write_picture(folder / "figures", one)
        files += write_tables(folder / "tables", found.tables)
        files += _write_programs(folder, found, programs)
    done("analysis.html")
    view = {
        "sides": sides,
        "topics": chapters,
        "definitions": DEFINITIONS,
        "shown": shown,
        "written": _now(),
    }
    page = write_page("analysis.html", view, folder / "analysis.html", scripts=_SCRIPTS, styles=_STYLES)
    return Written(page, tuple(chapters), (page, *files), "" if has_fonts() else _NO_FONTS)


def _programs(
    sides: Sequence[Side], topic: Topic, task_id: str | None, tokenizers: Mapping[str, Any]
) -> tuple[list[Program], list[Missing]]:
    """The completions of one task, one of each model, and what is not there of them."""
    examples = [side.examples.get(topic, {}) for side in sides]
    index = same_task(examples, task_id)
    programs, gaps = [], []
    for side, found in zip(sides, examples, strict=True):
        if index is None or index not in found:
            gaps.append(Missing(f"{side.label}: its first cell has no sample of the task."))
            continue
        tokenizer = tokenizers[side.label]
        if isinstance(tokenizer, str):
            gaps.append(
                Missing(
                    f"{side.label}: the tokens cannot be shown, as there is no tokenizer ({tokenizer}); analyze "
                    "where the model is."
                )
            )
        programs.append(program_of(found[index], side.label, None if isinstance(tokenizer, str) else tokenizer))
    return programs, gaps


def _tokenizer(path: str) -> Any:
    """The tokenizer of a model, or, in words, why there is none."""
    try:
        return CausalModel.read(path).tokenizer if is_causal_model(path) else load_tokenizer(path)
    except ModelError as error:
        return str(error)


def _write_programs(folder: Path, found: Chapter, programs: Sequence[Program]) -> list[Path]:
    """Write the program as an animation for each model, and as one page that plays them."""
    if not programs:
        return []
    files: list[Path] = []
    for program in programs:
        name = f"{found.slug}-program{_slug(program.label, programs)}"
        files += write_svg(folder / "figures", name, animated_svg(program))
    view = {"programs": programs, "how_to_read": HOW_TO_READ_A_PROGRAM, "written": _now()}
    page = folder / f"{found.slug}-program.html"
    return [*files, write_page("program.html", view, page, scripts=_SCRIPTS, styles=_STYLES)]


def _slug(label: str, programs: Sequence[Program]) -> str:
    return "" if len(programs) == 1 else "-" + re.sub(r"[^\w.-]+", "-", label)


def _now() -> str:
    return datetime.now().astimezone().isoformat(" ", "seconds")
