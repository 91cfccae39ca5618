"""A run from its recipe to its report: everything it needs is started here, and stopped again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ray

from common.config import Config, ConfigError
from common.likelihood.registry import make_estimator
from common.models.config import ModelConfig
from common.models.loading import model_folder
from common.plugins import PluginError
from common.streams import Streams, connect
from learner.checkpoints import adopt
from learner.learner_rank import LearnerRank
from learner.objectives.registry import make_objective
from orchestrator.curriculum import Curriculum, load_data
from orchestrator.evaluator import Evaluator
from orchestrator.fleet.cluster import ACTOR_ENVIRONMENT, actor_resources, await_resources, ray_cluster
from orchestrator.fleet.embedded_redis import EmbeddedRedis
from orchestrator.fleet.learner_group import LearnerDiedError, LearnerGroup
from orchestrator.fleet.placement import Rooms
from orchestrator.fleet.pool import WorkerPool
from orchestrator.interrupt import Interrupted, StopRequest
from orchestrator.loggers import check_loggers
from orchestrator.places import cluster_places, run_places
from orchestrator.recorder import open_recorder
from orchestrator.report.display import Display
from orchestrator.report.report import write_report
from orchestrator.resume import checkpoint_to_resume, rewind_streams
from orchestrator.run_folder import RunFolder, write_text
from orchestrator.run_loop import RunLoop, Totals
from orchestrator.run_metrics import Pool
from reward_service.reward_actor import RewardWorker
from rollout_workers.rollout_actor import RolloutWorker
from sandbox.probe import Level, probe


def train(config: Config, resume: str, display: Display) -> dict[str, Any]:
    """Run ``config`` and return its summary. ``resume`` is ``auto``, ``never`` or a path (orchestrator/resume.py).

    Problems that can be seen beforehand (configuration, Redis, sandbox, data, model) are raised before anything
    is written or started.
    """
    notes: list[str] = []
    checkpoint = checkpoint_to_resume(config, resume)
    _check_algorithm(config)
    _check_model(config)
    check_loggers(config.telemetry.loggers)
    if config.reward.workers and config.ray.address == "local":  # on a cluster, they run elsewhere
        probe().require(Level(config.reward.sandbox_level))
    if config.streams.url != "embedded":
        _check_redis(config)
    tasks, held_out = load_data(config, notes)
    curriculum = Curriculum(tasks, config.run.seed)
    folder = RunFolder.open(config, resume=resume != "never")
    (folder.path / "summary.json").unlink(missing_ok=True)  # of an earlier life: the run is going again
    started = time.monotonic()
    status, totals = "failed", Totals()
    try:
        with StopRequest() as stop, ExitStack() as stack:
            stack.callback(display.phase, "stopping")
            display.phase("starting Redis and Ray")
            for note in filter(None, [config.run.about, *notes]):
                display.note(note)
            loop = _assemble(config, folder, curriculum, held_out, checkpoint, display, stop, stack)
            totals = loop.totals
            totals.add_seconds("start", time.monotonic() - started)
            loop.run()
            status = "finished"
    except (KeyboardInterrupt, Interrupted):
        status = "interrupted"
        raise
    finally:
        summary = _summary(folder, status, totals, time.monotonic() - started)
        write_text(folder.path / "summary.json", json.dumps(summary, indent=2) + "\n")
        write_report(folder.path)
        folder.close()
    return summary


def _check_redis(config: Config) -> None:
    """It answers, and holds nothing of another run of this id."""
    client = connect(config.streams.address)
    new = not (config.folder / "run.json").exists()
    if new and config.run.id and Streams(client, config.run.id, config.streams).counters():
        raise ConfigError(
            f"run.id {config.run.id}: the Redis of streams.url holds groups of another run with this id; choose "
            "another one, or go on with that run (its run.folder, --resume auto)"
        )
    client.close()


def _check_algorithm(config: Config) -> None:
    """Make the user's estimator and objective once here, where an error costs no actors."""
    try:
        make_estimator(config.learner.estimator, config.learner.inner_iterations)
        make_objective(config.learner.objective)
    except PluginError as error:
        raise ConfigError(f"learner: {error}") from error


def _check_model(config: Config) -> None:
    if config.learner.lora is not None and find_spec("peft") is None:
        raise ConfigError("learner.lora: needs peft; install it with pip install 'couplet-rl[lora]'")
    model = ModelConfig.from_folder(model_folder(config.model.path))
    longest = config.data.max_prompt_tokens + config.rollout.completion_length
    if longest > model.max_position_embeddings:
        raise ConfigError(
            f"rollout.completion_length: with data.max_prompt_tokens a row can have {longest} tokens, and the "
            f"model knows {model.max_position_embeddings} positions; lower one of them"
        )


def _assemble(
    config: Config,
    folder: RunFolder,
    curriculum: Curriculum,
    held_out: list[Any],
    checkpoint: Path | None,
    display: Display,
    stop: StopRequest,
    stack: ExitStack,
) -> RunLoop:
    """Start Redis, Ray and all actors; ``stack`` stops them in reverse order."""
    redis_url = config.streams.address
    if redis_url == "embedded":
        redis_url = stack.enter_context(EmbeddedRedis(folder.path / "redis")).url
    if not config.streams.in_environment:
        folder.write_secret("redis-url", redis_url)
    streams = Streams(connect(redis_url), folder.run_id, config.streams)
    if checkpoint is not None:
        checkpoint = adopt(folder.path.resolve() / "checkpoints", checkpoint)
        rewind_streams(streams, checkpoint)
    streams.create()
    access = stack.enter_context(ray_cluster(config, folder.path, folder.run_id))
    display.places(cluster_places(folder.path, access))
    stop.install()  # again: Ray has put a handler of its own in place
    await_resources(config, display.note, stop.check)
    display.phase("starting actors")
    # Actors run elsewhere: they get the folder's absolute path.
    config = config.model_copy(update={"run": config.run.model_copy(update={"folder": folder.path.resolve()})})
    rollout_takes = actor_resources(config.rollout.gpus_per_worker, config.rollout.ray_resource)
    reward_takes = actor_resources(0.0, config.reward.ray_resource)
    rollout_rooms = Rooms(folder.run_id, rollout_takes) if rollout_takes else None
    reward_rooms = Rooms(folder.run_id, reward_takes) if reward_takes else None
    rollout = WorkerPool(
        "rollout",
        config.rollout.workers,
        _spawner(RolloutWorker, config, folder.run_id, redis_url, rollout_takes, rollout_rooms),
        config.deadlines,
        needs_weights=True,
        transport=config.learner.weights_transport,
        rooms=rollout_rooms,
        minimum=config.rollout.min_workers,
    )
    reward = WorkerPool(
        "reward",
        config.reward.workers,
        _spawner(RewardWorker, config, folder.run_id, redis_url, reward_takes, reward_rooms),
        config.deadlines,
        needs_weights=False,
        rooms=reward_rooms,
    )
    stack.callback(rollout.stop)
    stack.callback(reward.stop)
    rank_takes = actor_resources(config.learner.gpus_per_rank, config.learner.ray_resource)
    learner = LearnerGroup(config, _spawner(LearnerRank, config, folder.run_id, redis_url, rank_takes), stop.check)

    def attend() -> None:
        stop.check()
        for note in rollout.tend() + reward.tend():
            display.note(note)

    learner.start(checkpoint, attend)
    for note in rollout.wait_until_started(stop.check) + reward.wait_until_started(stop.check):
        display.note(note)
    folder.rewind(learner.version)
    pools: dict[str, Pool] = {"learner": learner, "rollout": rollout, "reward": reward}
    recorder = open_recorder(config, folder, redis_url, pools, learner.version, stack)
    display.places(run_places(folder.path, recorder.address))
    evaluator = Evaluator(config, folder.run_id, streams, held_out)
    loop = RunLoop(
        config, folder, streams, curriculum, evaluator, learner, rollout, reward, display, recorder, stop
    )
    stack.push(_on_success(lambda: _finish(learner, streams, folder, display)))
    return loop


def export_model(learner: LearnerGroup, target: Path, note: Callable[[str], None]) -> None:
    """Export the weights; if a rank dies over it, from the last checkpoint, which holds them too.

    Raises TooManyRestartsError.
    """
    failure: LearnerDiedError | None = None
    while True:
        try:
            if failure is not None:
                note(learner.restart(str(failure)))
            learner.export(target)
        except LearnerDiedError as error:
            failure = error
        else:
            return


def _finish(learner: LearnerGroup, streams: Streams, folder: RunFolder, display: Display) -> None:
    export_model(learner, folder.path.resolve() / "model", display.note)
    streams.expire()


def _on_success(action: Callable[[], None]) -> Callable[..., None]:
    def on_exit(kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is None:
            action()

    return on_exit


def _spawner(
    actor: type,
    config: Config,
    run_id: str,
    redis_url: str,
    takes: Mapping[str, float],
    rooms: Rooms | None = None,
) -> Callable[[Any, str], Any]:
    """Makes actors of a role that take these resources, in their rooms if they have any."""
    remote: Any = ray.remote(actor)
    custom = {name: amount for name, amount in takes.items() if name != "GPU"}

    def spawn(identity: Any, name: str) -> Any:
        return remote.options(
            name=f"{run_id}/{name}",
            num_cpus=0,
            num_gpus=takes.get("GPU", 0.0),
            resources=custom,
            max_concurrency=4,
            max_restarts=0,
            runtime_env={"env_vars": ACTOR_ENVIRONMENT},
            **(rooms.options(name) if rooms else {}),
        ).remote(config, run_id, redis_url, identity)

    return spawn


def _summary(folder: RunFolder, status: str, totals: Totals, seconds: float) -> dict[str, Any]:
    evaluations = folder.records("evaluations")
    metrics = folder.records("metrics")
    training = totals.seconds.get("train", 0.0)
    return {
        "status": status,
        "updates": metrics[-1]["step"] if metrics else 0,
        "pass_rate_before": evaluations[0]["pass_rate"] if evaluations else None,
        "pass_rate_after": evaluations[-1]["pass_rate"] if len(evaluations) > 1 else None,
        "seconds": {name: round(value, 1) for name, value in {"total": seconds, **totals.seconds}.items()},
        "samples": totals.samples,
        "samples_per_second": round(totals.samples / training, 2) if training else 0.0,
        "run_folder": str(folder.path),
    }
