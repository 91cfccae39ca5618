"""The image of the docker backend: a Python to run with, and this package's runner on top.

The runner is added here and not by whoever builds the Python: host and runner must speak the same protocol.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import platform
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from docker.errors import ImageNotFound

from sandbox import languages
from sandbox.docker import interpreter_image
from sandbox.docker.engine import ENGINE_ERRORS, Engine
from sandbox.inside import rootfs
from sandbox.types import SandboxUnavailable

_PYTHON, _RUNNER = "couplet-python", "couplet-sandbox"
_INSIDE = Path(rootfs.__file__).resolve().parent  # what a container gets of this package, and nothing else
_BUILD_S = 300.0
_POLL_S = 0.05


def ensure_image(engine: Engine, base: str | None = None) -> str:
    """Find or build the image to start slots from, once for each version of its content, and return its id.

    ``base`` is an image on the engine with Python 3.11 or newer as ``python3``; without one, this interpreter is
    taken, and the Node of this machine. Raises SandboxUnavailable where it is missing or the engine refuses.
    """
    try:
        with _only_builder():
            found = _interpreter(engine) if base is None else str(engine.client.images.get(base).id)
            return _with_runner(engine, found)
    except ImageNotFound as error:
        raise SandboxUnavailable(
            f"the container engine has no image '{base}': build it (docker build -t {base} deploy/sandbox), "
            "pull it, or name none to use this machine's Python"
        ) from error
    except ENGINE_ERRORS as error:
        raise SandboxUnavailable(f"the sandbox image could not be built: {error}") from error


def _interpreter(engine: Engine) -> str:
    program, node = interpreter_image.interpreter(), languages.node_program()
    recipe = Path(interpreter_image.__file__).read_bytes()
    facts = [sys.version, platform.machine(), program, node, *([str(os.stat(node).st_mtime_ns)] if node else [])]
    tag = _digest(*(fact.encode() for fact in facts), recipe)
    found = _find(engine, f"{_PYTHON}:{tag}")
    if found is None:
        with tempfile.TemporaryFile() as archive:
            interpreter_image.write(archive, node)
            archive.seek(0)
            engine.client.api.import_image_from_data(
                archive, repository=_PYTHON, tag=tag, changes=[f"ENV PATH={os.path.dirname(program)}"]
            )
        found = str(engine.client.images.get(f"{_PYTHON}:{tag}").id)
    return found


def _with_runner(engine: Engine, base: str) -> str:
    tag = runner_tag(base)
    found = _find(engine, f"{_RUNNER}:{tag}")
    if found is None:
        api = engine.client.api
        container = api.create_container(base, entrypoint=["python3"])["Id"]  # never started
        try:
            api.put_archive(container, "/", runner_archive())
            found = str(api.commit(container, repository=_RUNNER, tag=tag)["Id"])
        finally:
            engine.remove(container)
    return found


def runner_tag(base: str) -> str:
    """Name the content of an image: the runner's files on top of the image with the id ``base``."""
    contents = [part for path in _runner_files() for part in (path.name.encode(), path.read_bytes())]
    return _digest(base.encode(), *contents)


def runner_archive() -> bytes:
    """Pack the runner's files as a tar archive to unpack at a container's root."""
    buffer = io.BytesIO()
    inside = PurePosixPath(rootfs.RUNNER.lstrip("/"), rootfs.PACKAGE)
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for folder in (*reversed(inside.parents[:-1]), inside):
            entry = tarfile.TarInfo(str(folder))
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        for path in _runner_files():
            content = path.read_bytes()
            entry = tarfile.TarInfo(str(inside / path.name))
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _runner_files() -> list[Path]:
    return sorted(_INSIDE.glob("*.py"))


def _find(engine: Engine, name: str) -> str | None:
    try:
        return str(engine.client.images.get(name).id)
    except ImageNotFound:
        return None


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()[:24]


@contextmanager
def _only_builder() -> Iterator[None]:
    """Lock out this user's other processes on the machine: two would both build, and one image would be lost."""
    path = os.path.join(tempfile.gettempdir(), f"couplet-image-{os.getuid()}.lock")
    deadline = time.monotonic() + _BUILD_S
    with open(path, "a", encoding="ascii") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise SandboxUnavailable(
                        f"another process has been building the image for {_BUILD_S} s"
                    ) from None
                time.sleep(_POLL_S)
        yield
