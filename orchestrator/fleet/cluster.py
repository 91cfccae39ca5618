"""Ray for a run: a local one of its own, or a cluster it joins."""

from __future__ import annotations

import logging
import math
import os
import secrets
import shlex
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import ray

from common.config import Config, RunSettings, StageConfig
from common.errors import UserError
from common.models.folder import model_folder
from common.processes import signal_handlers_kept
from orchestrator.fleet.failure_log import keep
from orchestrator.fleet.forking.forked import forked_actors
from orchestrator.fleet.ray_messages import redirect_ray_messages
from orchestrator.fleet.ray_services import used_services_alone

#: An object store through which no weights of a large model go.
SMALL_STORE_BYTES = 256 << 20
#: Ray ends the actors of a run within seconds of its main process.
_GONE_SECONDS = 30.0


class ClusterError(UserError, RuntimeError):
    """Ray cannot be started or joined, or lacks the resources of the run."""


@dataclass(frozen=True)
class Access:
    """Hold how to look into Ray: the command that lists its actors, and its dashboard's address, if any."""

    listing: str
    dashboard: str | None

    def places(self) -> dict[str, str]:
        """Return where to look into Ray, for `couplet train` to print: nowhere without a dashboard."""
        if not self.dashboard:
            return {}
        token = os.environ.get("RAY_AUTH_TOKEN_PATH")
        asks = f" (asks for the token in {token})" if token else ""
        address = self.dashboard if "://" in self.dashboard else f"http://{self.dashboard}"
        return {"actors": self.listing, "Ray dashboard": f"{address}{asks}"}


def spaced_path() -> str | None:
    """Return a path with a space from which Ray would have to start its workers; None where there is none.

    It splits the command line of a worker at spaces.
    """
    return next((path for path in (sys.executable, ray.__file__) if any(map(str.isspace, path))), None)


def check_interpreter(config: RunSettings) -> None:
    """Raise ClusterError for a Python whose path Ray cannot start workers from, where the run starts Ray."""
    path = spaced_path()
    if config.ray.address == "local" and path is not None:
        raise ClusterError(
            f"ray.address local: Ray cannot start workers from {path!r}, whose path has a space; make the virtual "
            "environment in a folder without one (the run folder may have spaces)"
        )


@contextmanager
def ray_cluster(
    config: Config | StageConfig, folder: Path, run_id: str, object_store_bytes: int | None
) -> Iterator[Access]:
    """Start or join Ray for the length of the context.

    The run's id is its Ray namespace. ``object_store_bytes`` are of a local Ray's store, None for Ray's default.
    """
    if config.ray.address == "local":
        with (
            forked_actors(config),
            local_ray(folder, config.ray.dashboard, object_store_bytes, run_id) as access,
        ):
            yield access
    else:
        yield from _joined(config, run_id)


def actor_resources(gpus: float, ray_resource: str | None) -> dict[str, float]:
    """Return what one actor takes, by Ray's names. CPU actors take no logical CPU: they share the cores."""
    resources = {"GPU": gpus} if gpus else {}
    return resources | ({ray_resource: 1.0} if ray_resource else {})


def required_resources(config: Config) -> dict[str, float]:
    """Return what the cluster must have for the run to start: with ``rollout.min_workers``, for these alone.

    Parts of GPUs count as whole ones where no two of them fit on one GPU. Rollout workers that stand on the
    devices of the learner's ranks take nothing besides.
    """
    rollout, reward, learner = config.rollout, config.reward, config.learner
    total: Counter[str] = Counter()
    workers = 0 if config.takes_turns else rollout.min_workers or rollout.workers
    for count, gpus, custom in (
        (workers, rollout.gpus_per_worker, rollout.ray_resource),
        (reward.workers, 0.0, reward.ray_resource),
    ):
        for name, amount in actor_resources(gpus, custom).items():
            total[name] += count * amount  # type: ignore[assignment]
    total.update(resources_of_ranks(config))
    for_workers = whole_gpus(workers, rollout.gpus_per_worker)
    total["GPU"] = max(total["GPU"], for_workers, whole_gpus(learner.ranks, learner.gpus_per_rank))
    return {name: float(amount) for name, amount in total.items() if amount}


def whole_gpus(actors: int, each: float) -> int:
    """Return the GPUs that actors need which take ``each`` of one: Ray gives none parts of two GPUs."""
    return math.ceil(actors / math.floor(1 / each)) if 0 < each < 1 else 0


def resources_of_ranks(config: RunSettings) -> dict[str, float]:
    """Return what the cluster must have for all DeepSpeed ranks of a run."""
    learner = config.learner
    each = actor_resources(learner.gpus_per_rank, learner.ray_resource)
    return {name: learner.ranks * amount for name, amount in each.items()}


def lacking(need: Mapping[str, float], have: Mapping[str, float]) -> str:
    """Name what a cluster lacks, for a message; empty where it has all."""
    return ", ".join(
        f"{amount:g} {name} (it has {have.get(name, 0.0):g})"
        for name, amount in need.items()
        if have.get(name, 0.0) < amount
    )


#: Settings of a local Ray, which has no other way to take them than the environment of what it starts.
_LOCAL_SETTINGS = {
    # Ray starts a worker for each core in advance, but our actors have an environment of their own and use none.
    "RAY_prestart_worker_first_driver": "0",
    # By default as many workers start at a time as there are cores: the learner's last rank, for which all wait,
    # would begin to import when the first actors have done so.
    "RAY_worker_maximum_startup_concurrency": "16",
    # A control store of this machine that is gone stays gone; by default Ray's agents wait a minute for it, and
    # outlive the run by that.
    "RAY_gcs_rpc_server_reconnect_timeout_s": "10",
    # Each call of an actor leaves a record, for Ray's dashboard: a long run would fill 100,000 of them.
    "RAY_task_events_max_num_task_in_gcs": "1000",
}


@contextmanager
def local_ray(
    folder: Path, dashboard: bool, object_store_bytes: int | None, namespace: str | None = None
) -> Iterator[Access]:
    """Start a local Ray for the length of the context, its token in ``folder``.

    The object store takes Ray's default share of memory where its size is not given. Use it once in a process: Ray
    remembers the first token.
    """
    # Ray turns token authentication on for a local cluster. The token is the run's own: nobody else on this
    # machine may submit code to its Ray, and no file in the home directory changes what other Rays do.
    own_token = "RAY_AUTH_MODE" not in os.environ
    if own_token:
        token_file = folder / "ray-token"
        token_file.touch(mode=0o600)
        token_file.write_text(secrets.token_hex(32))
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(token_file.resolve())
    redirect_ray_messages(keep)
    for name, value in _LOCAL_SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        with signal_handlers_kept(), used_services_alone(dashboard):
            context = ray.init(
                address="local",
                namespace=namespace,
                include_dashboard=dashboard,
                dashboard_host="127.0.0.1",
                log_to_driver=False,
                logging_level=logging.ERROR,
                object_store_memory=object_store_bytes,
            )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise ClusterError(f"ray.address local: Ray did not start: {error}") from error
    except Exception as error:
        if "timed out during startup" not in str(error):  # for which Ray has no type of its own
            raise
        raise ClusterError(
            f"ray.address local: Ray did not start in time; is the machine busy? {error}"
        ) from error
    try:
        token = os.environ.get("RAY_AUTH_TOKEN_PATH")
        with_token = f"RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH={shlex.quote(token)} " if token else ""
        listing = f"{with_token}ray list actors --address {ray.get_runtime_context().gcs_address}"
        yield Access(listing, context.dashboard_url)
    finally:
        ray.shutdown()
        if own_token:  # and the mode, which Ray has set: a child process would find a mode without a token
            os.environ.pop("RAY_AUTH_TOKEN_PATH", None)
            os.environ.pop("RAY_AUTH_MODE", None)


def object_store_bytes(config: Config) -> int | None:
    """Return a small size for a small model, so that a small machine suffices; None for Ray's default.

    Weights that do not fit would be spilled to disk.
    """
    files = model_folder(config.model.path).glob("*.safetensors")
    weights = sum(file.stat().st_size for file in files)
    return SMALL_STORE_BYTES if 4 * weights < SMALL_STORE_BYTES else None


def _joined(config: RunSettings, run_id: str) -> Iterator[Access]:
    redirect_ray_messages(keep)
    try:
        with signal_handlers_kept():
            context = ray.init(
                address=config.ray.address,
                namespace=run_id,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ClusterError(f"ray.address {config.ray.address}: no Ray cluster answers: {error}") from error
    try:
        _await_predecessor(run_id)
        yield Access("ray list actors", context.dashboard_url)
    finally:
        ray.shutdown()


def check_embedded_redis(config: Config) -> None:
    """Raise ClusterError where a Redis on this machine alone is to serve actors on several."""
    machines = sum(node["Alive"] for node in ray.nodes())  # type: ignore[no-untyped-call]
    if config.streams.url == "embedded" and config.ray.address != "local" and machines > 1:
        raise ClusterError(
            f"streams.url embedded: the cluster has {machines} machines, and only this one would reach the "
            "server; set streams.url to a Redis that all of them reach"
        )


def _await_predecessor(run_id: str) -> None:
    """Wait until the actors of an earlier attempt of this run are gone. Raises ClusterError where they stay."""
    end = time.monotonic() + _GONE_SECONDS
    while left := ray.util.list_named_actors():
        if time.monotonic() > end:
            raise ClusterError(
                f"run {run_id} is on this cluster already, with {', '.join(sorted(left))}; stop its job "
                "(`ray job list`, `ray job stop`), or start this one with another run.folder and run.id"
            )
        time.sleep(0.5)
