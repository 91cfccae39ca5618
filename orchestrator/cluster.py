"""Ray for a run: a local one of its own, or a cluster it joins."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray

from common.config import Config
from common.models.loading import model_folder

#: Memory that actors free and take again in every step stays theirs: on small machines page faults cost more than
#: the arithmetic. One arena, because actors work in threads and glibc keeps large blocks in its main arena alone.
#: Threads that wait sleep: actors take turns on the cores, and one that spins holds its core against the actor
#: whose turn it is.
ACTOR_ENVIRONMENT = {
    "OMP_WAIT_POLICY": "passive",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 32),
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONUNBUFFERED": "1",
}

_SMALL_STORE_BYTES = 256 << 20


class ClusterError(RuntimeError):
    """Ray cannot be started or joined, or lacks the resources of the run."""


@contextmanager
def ray_cluster(config: Config, folder: Path) -> Iterator[str]:
    """Start or join Ray for the length of the context; yields the command that lists its actors."""
    if config.ray.address == "local":
        with local_ray(folder, config.ray.dashboard, _object_store_bytes(config)) as listing:
            yield listing
    else:
        yield from _joined(config)


def required_resources(config: Config) -> dict[str, float]:
    """What the run's actors ask Ray for. CPU actors take no logical CPU: they take turns on the cores."""
    gpus = (
        config.rollout.workers * config.rollout.gpus_per_worker
        + config.learner.ranks * config.learner.gpus_per_rank
    )
    return {"GPU": gpus} if gpus else {}


@contextmanager
def local_ray(folder: Path, dashboard: bool, object_store_bytes: int | None) -> Iterator[str]:
    """Ray of one's own for the length of the context, its token in ``folder``; yields the listing command.

    The object store takes Ray's default share of memory where its size is not given. Once in the life of a
    process: Ray remembers the first token.
    """
    # Ray turns token authentication on for a local cluster. The token is the run's own: nobody else on this
    # machine may submit code to its Ray, and no file in the home directory changes what other Rays do.
    own_token = "RAY_AUTH_MODE" not in os.environ
    if own_token:
        token_file = folder / "ray-token"
        token_file.touch(mode=0o600)
        token_file.write_text(secrets.token_hex(32))
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(token_file.resolve())
    try:
        ray.init(
            address="local",
            include_dashboard=dashboard,
            dashboard_host="127.0.0.1",
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=object_store_bytes,
        )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise ClusterError(f"ray.address local: Ray did not start: {error}") from error
    try:
        token = os.environ.get("RAY_AUTH_TOKEN_PATH")
        access = f"RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH={token} " if token else ""
        yield f"{access}ray list actors --address {ray.get_runtime_context().gcs_address}"
    finally:
        ray.shutdown()
        if own_token:  # and the mode, which Ray has set: a child process would find a mode without a token
            os.environ.pop("RAY_AUTH_TOKEN_PATH", None)
            os.environ.pop("RAY_AUTH_MODE", None)


def _object_store_bytes(config: Config) -> int | None:
    """Little for a small model, so that a small machine does; weights that do not fit would be spilled to disk."""
    files = model_folder(config.model.path).glob("*.safetensors")
    weights = sum(file.stat().st_size for file in files)
    return _SMALL_STORE_BYTES if 4 * weights < _SMALL_STORE_BYTES else None


def _joined(config: Config) -> Iterator[str]:
    try:
        ray.init(
            address=config.ray.address,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ClusterError(f"ray.address {config.ray.address}: no Ray cluster answers: {error}") from error
    try:
        need = required_resources(config)
        have: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        for name, amount in need.items():
            if have.get(name, 0.0) < amount:
                raise ClusterError(f"the run needs {amount:g} {name}, the cluster has {have.get(name, 0.0):g}")
        yield "ray list actors"
    finally:
        ray.shutdown()
