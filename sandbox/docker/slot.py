"""A slot of the docker backend: a warm container whose first process is the runner, fed over its attach stream."""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from docker.types import LogConfig, Ulimit

from sandbox import identity
from sandbox.docker import owner
from sandbox.docker.engine import ENGINE_ERRORS, Engine
from sandbox.inside import launcher, rootfs
from sandbox.link import Answer, Link, SlotError

_STREAM_HEADER = struct.Struct(">BxxxI")
_STDOUT, _STDERR = 1, 2
_KEPT_ERRORS = 4096
_TMP_MB = 64
_TMP_FILES = 4096
_RUNNER_MB = 64
_TASKS = 256
_OPEN_FILES = 256
_ATTACH = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}


@dataclass(frozen=True)
class ContainerOptions:
    """``memory_mb``: the most that one program may be allowed to take. ``preload``: modules to import once."""

    image: str
    memory_mb: int
    runtime: str | None = None
    preload: tuple[str, ...] = ()

    @property
    def container_mb(self) -> int:
        """The memory of a container: a program, the tests beside it, the files of /tmp and the runner."""
        return 2 * self.memory_mb + _TMP_MB + _RUNNER_MB


class StreamDecoder:
    """Takes the engine's stream headers off, however the bytes are cut. ``errors`` is the end of stderr."""

    def __init__(self) -> None:
        self.errors = b""
        self._header = bytearray()
        self._source = _STDOUT
        self._left = 0

    def __call__(self, data: bytes) -> bytes:
        """Return what ``data`` adds to stdout. Raises SlotError where a header is malformed."""
        output = bytearray()
        rest = memoryview(data)
        while rest:
            if self._left:
                part, rest = rest[: self._left], rest[self._left :]
                self._left -= len(part)
                if self._source == _STDOUT:
                    output += part
                else:
                    self.errors = (self.errors + part)[-_KEPT_ERRORS:]
                continue
            missing = _STREAM_HEADER.size - len(self._header)
            self._header += rest[:missing]
            rest = rest[missing:]
            if len(self._header) == _STREAM_HEADER.size:
                self._source, self._left = _STREAM_HEADER.unpack(self._header)
                self._header.clear()
                if self._source not in (_STDOUT, _STDERR):
                    raise SlotError("malformed stream from the container engine")
        return bytes(output)


class DockerSlot:
    """A container with its runner. The constructor starts it; it ends with this process, which holds its stdin."""

    def __init__(self, engine: Engine, options: ContainerOptions) -> None:
        """Start the container. Raises SlotError with a one-line reason."""
        self._engine = engine
        self._decoder = StreamDecoder()
        self._socket: socket.socket | None = None
        # Chosen here: a container whose creation was not heard of in time can still be removed.
        self._name = f"couplet-sandbox-{os.getpid()}-{uuid.uuid4().hex[:12]}"
        try:
            self._claim = identity.claim_for_container()
        except OSError as error:
            raise SlotError(str(error)) from error
        try:
            self._socket = self._start(options)
            self._link = Link(self._socket.fileno(), self._socket.fileno(), self._decoder)
            self._hello = self._link.receive_hello()
        except ENGINE_ERRORS as error:
            self.kill()
            raise SlotError(f"the container engine: {error}") from error
        except SlotError as error:
            self.kill()
            raise self._explained(error) from error

    @property
    def hello(self) -> dict[str, Any]:
        return self._hello

    @property
    def name(self) -> str:
        """The name of the container."""
        return self._name

    @property
    def is_quiet(self) -> bool:
        """Whether the stream is open and empty, as it is between requests until the runner ends."""
        assert self._socket is not None
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return not poll.poll(0)

    def ask(self, header: dict[str, Any], payload: bytes, given: bytes, deadline_s: float) -> Answer:
        try:
            return self._link.ask(header, payload, given, deadline_s)
        except SlotError as error:
            raise self._explained(error) from error

    def ask_each(
        self,
        header: dict[str, Any],
        payload: bytes,
        given: bytes,
        deadline_s: float,
        heard: Callable[[Answer], bool],
    ) -> None:
        try:
            self._link.ask_each(header, payload, given, deadline_s, heard)
        except SlotError as error:
            raise self._explained(error) from error

    def terminate(self) -> None:
        self._disconnect()
        self._engine.end(self._name)

    def kill(self) -> None:
        self._disconnect()
        self._engine.remove(self._name)
        if self._socket is not None:
            self._socket.close()
        self._claim.release()

    def _disconnect(self) -> None:
        """Shut the stream down, which ends a wait for it even when the engine does not answer."""
        if self._socket is not None and self._socket.fileno() >= 0:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # it had ended

    def _start(self, options: ContainerOptions) -> socket.socket:
        api = self._engine.client.api
        config = {
            "level": "uid",
            "container": True,
            "parent": 0,  # outside the container's PID namespace
            "runner_uid": self._claim.runner_uid,
            "child_uid": self._claim.child_uid,
            "preload": options.preload,
        }
        boot = launcher.BOOT.format("launcher")
        api.create_container(
            options.image,
            name=self._name,
            entrypoint=["python3", *launcher.INTERPRETER_FLAGS, "-c", boot, rootfs.RUNNER],
            command=[json.dumps(config)],
            hostname="sandbox",
            user="0:0",
            working_dir="/",
            stop_signal="SIGKILL",  # an engine that shuts down need not wait: the runner has nothing to finish
            stdin_open=True,
            network_disabled=True,
            labels=owner.labels(),
            host_config=self._host_config(options),
        )
        stream = api.attach_socket(self._name, params=_ATTACH)
        try:
            attached = socket.socket(fileno=os.dup(stream.fileno()))
        finally:
            stream._response.close()  # the stream's own close leaves a socket to the garbage collector
        api.start(self._name)
        return attached

    def _host_config(self, options: ContainerOptions) -> Any:
        tmp = f"size={_TMP_MB}m,nosuid,nodev,noexec,mode=1777"
        if not self._engine.is_podman:  # which refuses options that it does not know
            tmp += f",nr_inodes={_TMP_FILES}"
        memory = options.container_mb << 20
        limits = {"core": 0, "memlock": 0, "msgqueue": 0, "nofile": _OPEN_FILES, "nproc": _TASKS}
        return self._engine.client.api.create_host_config(
            auto_remove=True,
            runtime=options.runtime,
            network_mode="none",
            ipc_mode="none",
            read_only=True,
            tmpfs={"/tmp": tmp},
            cap_drop=["ALL"],
            cap_add=["SETUID", "SETGID", "KILL"],
            security_opt=["no-new-privileges"],
            mem_limit=memory,
            memswap_limit=memory,
            pids_limit=_TASKS,
            ulimits=[Ulimit(name=name, soft=most, hard=most) for name, most in limits.items()],
            log_config=LogConfig(type="none"),
        )

    def _explained(self, error: SlotError) -> SlotError:
        last = self._decoder.errors.decode(errors="replace").strip().splitlines()[-1:]
        return type(error)(f"{error}: {last[0]}") if last else error
