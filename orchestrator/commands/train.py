"""``couplet train``: a run from its recipe."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from common.config import load_config
from orchestrator.commands.recipes import find_recipe
from orchestrator.commands.run_options import run_options
from orchestrator.commands.running import run


@click.command()
@run_options
def train(
    recipe: Path,
    overrides: tuple[str, ...],
    dry_run: bool,
    gpu_gb: float | None,
    resume: str,
    plain: bool,
    as_json: bool,
) -> None:
    """Train from a recipe.

    RECIPE is a YAML file, or the name of one that comes with the package; OVERRIDES are section.field=value.
    """
    config = load_config(find_recipe(recipe), overrides)
    if dry_run:
        # torch and the checks of all inputs: not for a help text, nor for settings that are refused.
        from orchestrator.commands.dry_run import raise_for
        from orchestrator.commands.plan import plan_view

        view, checks = plan_view(config, gpu_gb)
        Console().print(view)
        raise_for(checks)
    else:
        run(config, resume, plain, as_json)
