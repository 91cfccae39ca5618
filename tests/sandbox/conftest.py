from __future__ import annotations

import contextlib
import functools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.sandbox import engine, levels


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[engine.PrivateEngine]:
    """A Docker engine for the whole session. Under CI, one that is installed but does not start is a failure."""
    if os.geteuid() != 0:
        pytest.skip("a Docker engine of our own needs root")
    # Not under pytest's folder, which it keeps for a while: images take hundreds of megabytes.
    folder = Path(tempfile.mkdtemp(prefix="couplet-docker-"))
    private = engine.PrivateEngine(folder)
    try:
        try:
            private.start()
        except engine.EngineError as error:
            if os.environ.get("CI") == "true" and shutil.which("dockerd"):
                pytest.fail(f"dockerd is installed but does not start: {error}")
            pytest.skip(f"no Docker engine: {error}")
        yield private
    finally:
        private.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def backend_at(request: pytest.FixtureRequest) -> Iterator[Callable[[str], levels.Backend]]:
    """Opens the backend of a level once for all tests of a module, whatever else they are parametrized with."""
    with contextlib.ExitStack() as stack:
        yield functools.cache(lambda level: stack.enter_context(levels.opened(level, request)))


@pytest.fixture(scope="session")
def docker_url(docker_engine: engine.PrivateEngine) -> str:
    return docker_engine.url
