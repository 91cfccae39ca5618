"""What a stage's run would start, without starting it."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.syntax import Syntax

from common.config import StageConfig, dump_config
from learner.stages.corpus import Corpus, CorpusError
from orchestrator.commands.memory_view import checkpoints_line, stage_memory_view
from orchestrator.commands.plan import actors_table, listed
from orchestrator.fleet.cluster import actor_resources, resources_of_ranks
from orchestrator.report.chart_numbers import count
from orchestrator.stages.length import stage_length
from orchestrator.stages.preparation import DATA


def stage_plan_view(config: StageConfig, gpu_gb: float | None = None) -> RenderableType:
    """The resolved configuration, the ranks, their resources and memory, and the length as the recipe gives it.

    ``gpu_gb`` is the size of a GPU; without it that of this machine's, or 80 GB.
    """
    learner = config.learner
    work = f"ZeRO-{learner.zero_stage}, {learner.sequences_per_step} sequences a step"
    actors = actors_table()
    takes = listed(actor_resources(learner.gpus_per_rank, learner.ray_resource))
    actors.add_row("learner", str(learner.ranks), takes, work)
    return Group(
        Syntax(dump_config(config), "yaml", background_color="default", word_wrap=True),
        actors,
        f"resources: {listed(resources_of_ranks(config))}",
        stage_memory_view(config, gpu_gb),
        f"training: {_length(config)}",
        checkpoints_line(config),
        f"run folder: {config.folder}",
    )


def _length(config: StageConfig) -> str:
    """Say how long the run trains: by the data that an earlier attempt has prepared, else by the recipe."""
    try:
        return stage_length(config, Corpus.open(config.folder / DATA, config)).sentence()
    except CorpusError:
        run, learner = config.run, config.learner
        tokens = learner.sequences_per_step * config.data.context_length
        sequences = f"{learner.sequences_per_step:,} sequences of up to {config.data.context_length:,} tokens"
        if run.epochs is None:
            known = f"{run.total_steps:,} steps of {sequences}, {count(run.total_steps * tokens)} tokens in all"
        else:
            known = f"{run.epochs:g} epochs in steps of {sequences}, {count(tokens)} tokens a step"
        return f"{known}; the run counts the data when it prepares it"
