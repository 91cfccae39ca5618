"""What `couplet evaluate` prints."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from evaluation.settings import EvaluationSettings
from evaluation.summary import Summary
from orchestrator.report.text import clean

_LEGEND = (
    "pass@k: mean over tasks of the unbiased estimate. local, global: AR-ness@1 of the text, the share of tokens "
    "written right after their left neighbour, and of those that were the left-most still to be written; a causal "
    "model has 1. tokens/pass: of text, in a forward pass. ended: texts that were not cut off. s: of completing."
)


def evaluation_view(settings: EvaluationSettings, summaries: Sequence[Summary]) -> RenderableType:
    """The settings, and a line for each benchmark."""
    ks = sorted({k for summary in summaries for k in summary.pass_at})
    table = Table(box=None, pad_edge=False)
    table.add_column("benchmark", overflow="fold", min_width=10)
    figures = ("local", "global", "tokens/pass", "ended", "s")
    for name in ("tasks", "samples", *(f"pass@{k}" for k in ks), *figures):
        table.add_column(name, justify="right", min_width=max(6, len(name)))
    for one in summaries:
        table.add_row(
            clean(one.benchmark),
            str(one.tasks),
            f"{one.samples}" + (f" ({one.excluded} excluded)" if one.excluded else ""),
            *(_percent(one.pass_at.get(k)) for k in ks),
            *(_number(one.ar_ness.get(name)) for name in ("local@1", "global@1")),
            _number(one.tokens_per_forward),
            _percent(one.ended),
            "-" if one.seconds is None else f"{one.seconds:.1f}",
        )
    return Group(Text(describe(settings)), Text(), table, Text(), Text(_LEGEND, style="dim"))


def describe(settings: EvaluationSettings) -> str:
    """Say on a few lines what the results depend on."""
    kind = "causal" if settings.causal else "masked-diffusion"
    model, prompts = settings.model, settings.prompts
    asked = "continued as they are"
    if prompts.chat_template:
        template = (
            "its own chat template" if prompts.chat_template_file is None else str(prompts.chat_template_file)
        )
        asked = f"in {template}, system prompt {prompts.system_prompt!r}, answers begin {prompts.answer_prefix!r}"
    drawn = ", ".join(f"{name} {value}" for name, value in settings.sampler.model_dump().items())
    stops = f", stop at {', '.join(map(repr, settings.stop))}" if settings.stop else ""
    return (
        f"{model.path}: a {kind} model, run by {settings.engine} in {model.dtype}\n"
        f"prompts {asked}{stops}\n"
        f"{settings.samples} a task, seed {settings.seed}: {drawn}"
    )


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
