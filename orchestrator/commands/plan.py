"""What a run would start, without starting it."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.syntax import Syntax
from rich.table import Table

from common.config import (
    Config,
    ConfigError,
    RolloutConfig,
    VllmBackendConfig,
    dump_config,
    without_password,
)
from orchestrator.commands.dry_run import Check, check_data, check_rest, checks_table
from orchestrator.commands.memory_view import checkpoints_line, memory_view
from orchestrator.curriculum import TaskCounts
from orchestrator.fleet.cluster import actor_resources, required_resources
from orchestrator.preflight import check_vllm
from orchestrator.run_length import run_length


def plan_view(config: Config, gpu_gb: float | None = None) -> tuple[RenderableType, list[Check]]:
    """Show the resolved configuration, the actors, the resources and memory they need, and what was checked.

    ``gpu_gb`` is the size of a GPU; without it that of this machine's, or 80 GB. Raises ConfigError for a length
    that no run has.
    """
    data, counts = check_data(config)
    checks = [data, *check_rest(config)]
    rollout, learner = config.rollout, config.learner
    actors = actors_table()
    elastic = rollout.min_workers is not None and rollout.min_workers < rollout.workers
    actors.add_row(
        "rollout",
        f"{rollout.min_workers} to {rollout.workers}" if elastic else str(rollout.workers),
        "in turns, what a rank takes"
        if config.takes_turns
        else listed(actor_resources(rollout.gpus_per_worker, rollout.ray_resource)),
        f"{_engine(rollout)}: {rollout.group_size} completions a task, {rollout.denoising_steps} steps at T "
        f"{rollout.temperature:g}",
    )
    actors.add_row(
        "reward",
        str(config.reward.workers),
        listed(actor_resources(0.0, config.reward.ray_resource)),
        f"{config.reward.tests}, {config.reward.backend} sandbox",
    )
    actors.add_row(
        "learner",
        str(learner.ranks),
        listed(actor_resources(learner.gpus_per_rank, learner.ray_resource)),
        f"ZeRO-{learner.zero_stage}, {learner.groups_per_step} groups a step, {learner.updates_per_step} updates",
    )
    notes = [f"resources: {listed(required_resources(config))}"]
    if elastic:
        complete = rollout.model_copy(update={"min_workers": None})
        everything = required_resources(config.model_copy(update={"rollout": complete}))
        notes.append(f"resources with all workers: {listed(everything)}")
    if not config.reward.workers:
        address = f"--streams-url {without_password(config.streams.url)} --run-id {config.run.id}"
        notes.append(f"scoring is done elsewhere: couplet serve-rewards {address}")
    view = Group(
        Syntax(dump_config(config), "yaml", background_color="default", word_wrap=True),
        actors,
        *notes,
        memory_view(config, gpu_gb),
        *_vllm_lines(config),
        *_length_lines(config, data, counts),
        checkpoints_line(config),
        checks_table(checks),
        f"run folder: {config.folder}",
    )
    return view, checks


def _engine(rollout: RolloutConfig) -> str:
    """Name the backend, and where its model is shared out, to how many."""
    backend = rollout.backend
    if isinstance(backend, VllmBackendConfig) and backend.tensor_parallel_size > 1:
        return f"vllm on {backend.tensor_parallel_size} {'GPUs' if rollout.gpus_per_worker else 'processes'}"
    return backend.kind


def _vllm_lines(config: Config) -> list[str]:
    """Say why vLLM could not be used on this machine, if the run wants it."""
    try:
        return check_vllm(config)
    except ConfigError as error:
        return [f"this machine cannot start the run: {error}"]


def _length_lines(config: Config, data: Check, counts: TaskCounts | None) -> list[str]:
    """Say how long the run trains, from the tasks that it would load; without them, what keeps them away."""
    if counts is None:
        run = config.run
        known = f"{run.total_steps:,} steps" if run.epochs is None else f"run.epochs {run.epochs:g}"
        return [f"training: {known}; the tasks cannot be counted here: {data.found}"]
    length = run_length(config, counts.train)
    samples = length.steps * length.groups_per_step * config.rollout.group_size
    lines = [*counts.notes, f"training: {length.sentence()}; {samples:,} samples", length.warning()]
    return [line for line in lines if line is not None]


def actors_table() -> Table:
    """Return a table for actors: their role, their count, what each takes, and their work."""
    return Table("role", "count", "each takes", "work", title="actors", title_justify="left")


def listed(resources: Mapping[str, float]) -> str:
    """Write resources, by Ray's names, for people."""
    return ", ".join(f"{amount:g} {name}" for name, amount in resources.items()) or "CPU only"
