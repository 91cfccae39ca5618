"""The settings of an evaluation in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from evaluation.extraction import Extraction
from evaluation.settings import EvaluationSettings
from evaluation.templates import Template

LEGEND = (
    "pass@k is the mean over tasks of the unbiased estimate, with its 95 % bootstrap interval over tasks. "
    "local and global are AR-ness@1 of the text: the share of tokens that were written right after their left "
    "neighbour, and the share that were the left-most still unwritten (a causal model has 1). tok/pass is the "
    "number of text tokens per forward pass. ended is the share of texts that were not cut off."
)
LEGEND_OF_TIMES = "seconds is the time that completing took."
_OPTIONS = {"completion_length": "max_tokens", "seed": "seeds"}
#: Settings of a sampler that no option changes; settings.json has them.
_FIXED = (
    "decoder_temperature",
    "upstream",
    "approximate_cache",
    "approximate_locking",
    "approximate_measured_share",
)


def describe(settings: EvaluationSettings) -> list[str]:
    """Say, on a few lines, what the options set and the tables do not show: samplers by the options themselves."""
    return list(_lines(settings))


def _lines(settings: EvaluationSettings) -> Iterator[str]:
    kind = "causal" if settings.causal else "masked-diffusion"
    yield f"{settings.model.path}: a {kind} model, run by {settings.engine} in {settings.model.dtype}"
    for template in settings.templates:
        yield f"template {template.name}: {_protocol(template)}"
    each = "1 completion of each task" if settings.samples == 1 else f"{settings.samples} completions of each task"
    sampler = settings.cells[0].sampler.model_dump()
    grid = {name: values for name, values in settings.grid().items() if name != "template"}
    drawn = sampler | {name: _listed(values) for name, values in grid.items() if values != (None,)}
    if drawn.get("decoder") != "threshold":
        drawn.pop("threshold", None)
    yield f"{each}: {' '.join(_option(name, value) for name, value in drawn.items() if name not in _FIXED)}"


def _option(field: str, value: object) -> str:
    return f"--{_OPTIONS.get(field, field).replace('_', '-')} {value}"


def _protocol(template: Template) -> str:
    """Say what a template is, and what options have changed in it."""
    prompts = template.prompts
    parts = []
    if prompts.chat_template:
        chat = "of the model" if prompts.chat_template_file is None else str(prompts.chat_template_file)
        parts += [f"the chat template {chat}", f"the system prompt {prompts.system_prompt!r}"]
    if prompts.answer_prefix:
        parts.append(f"answers that begin {prompts.answer_prefix!r}")
    put = [f"With {', '.join(parts)}."] if parts else []
    ends = [f"Texts end before {' or '.join(map(repr, template.stop))}."] if template.stop else []
    return " ".join((template.about, *put, *ends, _tested(template.extraction)))


def _tested(extraction: Extraction) -> str:
    """Say what of an answer is tested."""
    if extraction.rule == "reward":
        return "Answers are read as by the reward of training."
    cut = " up to the last line at which it is a program" if extraction.trimmed else ""
    return f"Tested are the {extraction.block} code block of a chat answer and all of a continuation{cut}."


def _listed(values: Sequence[Any]) -> str:
    return ",".join(f"{value:g}" for value in values)
