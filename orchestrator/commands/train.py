"""``couplet train``: a run from its recipe."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from common.config import load_config
from orchestrator.commands.plan import plan_view
from orchestrator.commands.recipes import find_recipe
from orchestrator.commands.running import run


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1)
@click.option("--dry-run", is_flag=True, help="Print configuration, actors, resources and memory; start nothing.")
@click.option(
    "--gpu-gb",
    type=click.FloatRange(min=0, min_open=True),
    metavar="GB",
    help="GB of a GPU that --dry-run reckons with; by default those of this machine's, or 80.",
)
@click.option(
    "--resume", default="never", show_default=True, metavar="auto|never|PATH", help="Go on from a checkpoint."
)
@click.option("--plain", is_flag=True, help="Print lines instead of a live display.")
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON.")
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
        Console().print(plan_view(config, gpu_gb))
    else:
        run(config, resume, plain, as_json)
