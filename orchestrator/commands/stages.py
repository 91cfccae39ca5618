"""``couplet adapt``, ``couplet pretrain`` and ``couplet sft``: the stages before reinforcement learning."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console, Group

from common.config import Stage, load_stage_config
from orchestrator.commands.dry_run import check_stage_inputs, checks_table, raise_for
from orchestrator.commands.recipes import find_recipe, next_recipe
from orchestrator.commands.run_options import run_options
from orchestrator.commands.running import run_supervised
from orchestrator.commands.stage_plan import stage_plan_view

_TEXTS = {
    "adapt": """Turn an autoregressive model into a masked-diffusion one.

    Attention changes from causal to full while the model learns to denoise.""",
    "pretrain": """Train a masked-diffusion model on documents.""",
    "sft": """Fine-tune a masked-diffusion model on prompts and their answers.""",
}
_ARGUMENTS = """

    RECIPE is a YAML file, or the name of one that comes with the package; OVERRIDES are section.field=value."""


def _command(stage: Stage) -> click.Command:
    @click.command(stage, help=_TEXTS[stage] + _ARGUMENTS)
    @run_options
    def command(
        recipe: Path,
        overrides: tuple[str, ...],
        dry_run: bool,
        gpu_gb: float | None,
        resume: str,
        plain: bool,
        as_json: bool,
    ) -> None:
        config = load_stage_config(find_recipe(recipe), stage, overrides)
        if dry_run:
            checks = check_stage_inputs(config)
            Console().print(Group(stage_plan_view(config, gpu_gb), checks_table(checks)))
            raise_for(checks)
        else:
            run_supervised(config, resume, plain, as_json, next_recipe(str(recipe), stage))

    return command


adapt, pretrain, sft = _command("adapt"), _command("pretrain"), _command("sft")
