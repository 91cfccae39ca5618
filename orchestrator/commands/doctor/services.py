"""The doctor's questions to packages and services.

What a question needs is imported when it is asked: a package that is missing or broken is one of the answers.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from orchestrator.commands.doctor.machine import Check

_INSTALL = "pip install couplet-rl"
_SECONDS = 2.0
#: vLLM is slow to import.
VLLM_SECONDS = 120.0
_SANDBOX_REMEDY = (
    "run as root with CAP_SYS_ADMIN, or allow unprivileged user namespaces "
    "(sysctl kernel.unprivileged_userns_clone=1; on Ubuntu kernel.apparmor_restrict_unprivileged_userns=0)"
)


def package(name: str, version: Callable[[str], str] = metadata.version) -> Check:
    """The installed version of ``name``."""
    try:
        return Check(name, "ok", version(name))
    except metadata.PackageNotFoundError:
        return Check(name, "missing", "not installed", _INSTALL)


PACKAGES = (
    partial(package, "torch"),
    partial(package, "transformers"),
    partial(package, "deepspeed"),
    partial(package, "ray"),
    partial(package, "redis"),
)


def _usable_vllm() -> str | None:
    """Return what vLLM is installed and computes on, imported in another process; None without one."""
    from rollout_workers.backends.vllm_backend.installation import find_device, find_installation

    found = find_installation()
    return None if found is None else f"{found}, on {find_device(VLLM_SECONDS)}"


def vllm(usable: Callable[[], str | None] = _usable_vllm) -> Check:
    """The vLLM that is installed, if it works, and the device that it computes on."""
    try:
        from rollout_workers.backends.vllm_backend.installation import INSTALL, VllmUnusableError
    except ImportError as error:
        return Check("vllm", "missing", f"cannot be asked: {error}", _INSTALL)
    try:
        found = usable()
    except VllmUnusableError as error:
        return Check("vllm", "warning", error.reason, error.remedy)
    return Check("vllm", "ok", found or f"not installed; optional: {INSTALL}")


def embedded_redis() -> Check:
    """Start the server that a run starts for itself, ask it for its version, and stop it."""
    name = "embedded Redis"
    try:
        from common.streams import StreamError, connect
        from orchestrator.fleet.embedded_redis import EmbeddedRedis
    except ImportError as error:
        return Check(name, "missing", f"cannot be imported: {error}", _INSTALL)
    try:
        with tempfile.TemporaryDirectory(prefix="couplet-doctor-") as folder:
            with EmbeddedRedis(Path(folder)) as server:
                client = connect(server.url, _SECONDS)
                info: Any = client.info("server")
                client.close()
    except (StreamError, OSError) as error:
        return Check(name, "missing", f"does not start: {error}", "set streams.url to a Redis of your own")
    kind = "Valkey" if "valkey_version" in info else "Redis"
    return Check(name, "ok", f"{kind} {info.get('valkey_version') or info.get('redis_version')} starts")


def redis_url(environment: Mapping[str, str] = os.environ) -> Check:
    """The Redis at REDIS_URL, if it is set. The URL may hold a password and is not repeated."""
    name, url = "REDIS_URL", environment.get("REDIS_URL", "")
    if not url:
        return Check(name, "ok", "not set; a run starts its own Redis")
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError as error:
        return Check(name, "missing", f"cannot be asked: {error}", _INSTALL)
    try:
        client = redis.Redis.from_url(
            url, socket_timeout=_SECONDS, socket_connect_timeout=_SECONDS, retry=Retry(NoBackoff(), 0)
        )
        client.ping()
        client.close()
    except ValueError:
        remedy = "write it as redis://[:password@]host:port/db"
        return Check(name, "missing", "is not a Redis address", remedy)
    except redis.RedisError as error:
        return Check(name, "missing", f"no answer: {error}", "start that Redis, correct REDIS_URL or unset it")
    return Check(name, "ok", "answers")


def container_engine() -> Check:
    """Docker or Podman, through the socket that the docker package finds."""
    name, unneeded = "container engine", "not needed: the jail sandbox is the default"
    try:
        import docker
    except ImportError:
        return Check(name, "ok", f"unknown, the docker package is not installed; {unneeded}")
    try:
        client = docker.from_env(timeout=_SECONDS)
        try:
            return Check(name, "ok", f"answers, version {client.version().get('Version', '?')}")
        finally:
            client.close()
    except (docker.errors.DockerException, OSError):
        return Check(name, "ok", f"none; {unneeded}")


def _probe_sandbox() -> tuple[str | None, Mapping[str, str]]:
    from sandbox.jail.probe import probe

    found = probe()
    return found.level, {str(level): reason for level, reason in found.refused.items()}


def sandbox(probe: Callable[[], tuple[str | None, Mapping[str, str]]] = _probe_sandbox) -> Check:
    """The strongest isolation that works here, and why the stronger ones do not."""
    try:
        level, refused = probe()
    except ImportError as error:
        return Check("sandbox", "missing", f"cannot be imported: {error}", _INSTALL)
    except OSError as error:
        return Check("sandbox", "missing", f"cannot be tried: {error}", _SANDBOX_REMEDY)
    reasons = "".join(f"; {name}: {reason}" for name, reason in refused.items())
    if level is None:
        return Check("sandbox", "missing", f"no level works{reasons}", _SANDBOX_REMEDY)
    if level == "uid":
        remedy = f"{_SANDBOX_REMEDY}, or accept it with reward.sandbox_level: uid"
        return Check("sandbox", "warning", f"level uid{reasons}", remedy)
    return Check("sandbox", "ok", f"level {level}{reasons}")


def ray_settings(environment: Mapping[str, str] = os.environ) -> Check:
    """The environment that decides which cluster Ray joins and how; Ray itself is not started."""
    settings = (f"{name} {environment.get(name) or 'not set'}" for name in ("RAY_ADDRESS", "RAY_AUTH_MODE"))
    return Check("Ray settings", "ok", ", ".join(settings))
