"""What a run would start, without starting it."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.syntax import Syntax
from rich.table import Table

from common.config import Config, dump_config
from orchestrator.cluster import required_resources


def plan_view(config: Config) -> RenderableType:
    """The resolved configuration, the actors, and the resources they need."""
    rollout, learner = config.rollout, config.learner
    actors = Table(title="actors", title_justify="left")
    for heading in ("role", "count", "GPUs each", "work"):
        actors.add_column(heading)
    actors.add_row(
        "rollout",
        str(rollout.workers),
        f"{rollout.gpus_per_worker:g}",
        f"{rollout.group_size} completions a task, {rollout.denoising_steps} steps at T {rollout.temperature:g}",
    )
    actors.add_row("reward", str(config.reward.workers), "0", f"{config.reward.tests}, jail sandbox")
    actors.add_row(
        "learner",
        str(learner.ranks),
        f"{learner.gpus_per_rank:g}",
        f"ZeRO-{learner.zero_stage}, {learner.groups_per_step} groups a step, "
        f"{learner.inner_iterations} inner iterations",
    )
    resources = ", ".join(f"{amount:g} {name}" for name, amount in required_resources(config).items())
    samples = config.run.steps * learner.groups_per_step * rollout.group_size
    return Group(
        Syntax(dump_config(config), "yaml", background_color="default"),
        actors,
        f"resources: {resources or 'CPU only'}",
        f"training: {config.run.steps} steps, {samples} samples",
        f"run folder: {config.folder}",
    )
