"""The connection to a container engine, checked for what the docker backend needs of it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import docker
from docker.errors import APIError, DockerException

from sandbox.types import SandboxUnavailable

# What a call to the engine can raise: the HTTP library's errors are OSErrors.
ENGINE_ERRORS = (DockerException, OSError)
_CALL_S = 30
_GONE_OR_GOING = (404, 409)
_REMEDY = "start Docker (or Podman's API service), point DOCKER_HOST at it, or use the jail backend"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Engine:
    """``client`` is a docker.DockerClient, safe to use from any thread; whoever connected closes it."""

    client: Any
    name: str
    version: str
    security: tuple[str, ...]

    @property
    def is_podman(self) -> bool:
        return "podman" in self.name.lower()

    def remove(self, container: str) -> None:
        """Kill and remove a container, by id or name. Log an engine that does not answer."""
        try:
            self.client.api.remove_container(container, force=True, v=True)
        except APIError as error:
            if error.status_code not in _GONE_OR_GOING:
                _log.warning("container %s was not removed: %s", container, error)
        except ENGINE_ERRORS as error:
            _log.warning("container %s was not removed: %s", container, error)

    def end(self, container: str) -> None:
        """Send SIGKILL to a container; ignore that it ended before or that the engine does not answer."""
        try:
            self.client.api.kill(container, signal="SIGKILL")
        except ENGINE_ERRORS as error:
            _log.debug("container %s was not killed: %s", container, error)


def connect(base_url: str | None = None, runtime: str | None = None) -> Engine:
    """Connect to ``base_url`` or, without one, to where DOCKER_HOST points.

    Raises SandboxUnavailable with the remedy where no engine answers, it lacks ``runtime``, or its transport has
    no plain socket underneath.
    """
    try:
        if base_url is None:
            client = docker.from_env(version="auto", timeout=_CALL_S)
        else:
            client = docker.DockerClient(base_url=base_url, version="auto", timeout=_CALL_S)
    except ENGINE_ERRORS as error:
        raise SandboxUnavailable(f"no container engine answers ({error}): {_REMEDY}") from error
    try:
        return _checked(client, runtime)
    except ENGINE_ERRORS as error:
        client.close()
        raise SandboxUnavailable(f"the container engine does not answer ({error}): {_REMEDY}") from error
    except SandboxUnavailable:
        client.close()
        raise


def _checked(client: Any, runtime: str | None) -> Engine:
    address = str(client.api.base_url)
    if address.startswith("https:") or "ssh" in address.split("/")[2:3]:
        raise SandboxUnavailable(
            "the docker backend reads containers from the engine's socket itself, which TLS and SSH hide: forward "
            "the engine to a Unix socket (ssh -L /tmp/docker.sock:/var/run/docker.sock HOST) and use that"
        )
    version, info = client.version(), client.info()
    runtimes = sorted(info.get("Runtimes") or ())
    if runtime is not None and runtime not in runtimes:
        raise SandboxUnavailable(
            f"the container engine has no runtime '{runtime}', only {', '.join(runtimes) or 'its default'}: "
            "add it to the engine's configuration or leave the runtime out"
        )
    component = str((version.get("Components") or [{}])[0].get("Name") or "Engine")
    return Engine(
        client=client,
        name="Docker" if component == "Engine" else component,
        version=str(version.get("Version", "?")),
        security=tuple(info.get("SecurityOptions") or ()),
    )
