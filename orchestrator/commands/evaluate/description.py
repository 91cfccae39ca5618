"""The settings of an evaluation in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from evaluation.settings import EvaluationSettings
from evaluation.templates import Template

LEGEND = (
    "pass@k: mean over tasks of the unbiased estimate, and its 95 % bootstrap interval over tasks. local, global: "
    "AR-ness@1 of the text, the share of tokens written right after their left neighbour, and of those that were "
    "the left-most still to be written; a causal model has 1. tok/pass: tokens of text in a forward pass. ended: "
    "texts that were not cut off. seconds: of completing."
)


def describe(settings: EvaluationSettings) -> list[str]:
    """Say, on a few lines, everything that the results depend on and the tables do not show."""
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
    yield f"{each}: {', '.join(f'{name} {value}' for name, value in drawn.items())}"


def _protocol(template: Template) -> str:
    """Say what a template is, and what options have changed in it."""
    prompts = template.prompts
    parts = []
    if prompts.chat_template:
        chat = "the model's own" if prompts.chat_template_file is None else str(prompts.chat_template_file)
        parts += [f"chat template {chat}", f"system prompt {prompts.system_prompt!r}"]
    if prompts.answer_prefix:
        parts.append(f"answers begin {prompts.answer_prefix!r}")
    if template.stop:
        parts.append(f"stop at {' '.join(map(repr, template.stop))}")
    parts += [f"{name} {value}" for name, value in template.extraction.model_dump().items()]
    return f"{template.about} ({', '.join(parts)})"


def _listed(values: Sequence[Any]) -> str:
    return "/".join(f"{value:g}" for value in values)
