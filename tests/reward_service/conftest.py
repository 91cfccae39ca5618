"""A started service and a sandbox for all tests of scoring."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox.jail.backend import JailSandbox
from tests.service_process import ServiceUnderTest, service

TOKEN = "correct-horse"


@pytest.fixture(scope="session")
def running() -> Iterator[ServiceUnderTest]:
    """A service with a token, two slots, room for 40 programs and for bodies of 1 MiB."""
    with service("--queue", "40", "--max-body-mb", "1", "reward.hacking_probe=0", token=TOKEN) as under_test:
        yield under_test


@pytest.fixture(scope="session")
def sandbox() -> Iterator[JailSandbox]:
    """A jail with two slots."""
    with JailSandbox(2) as shared:
        yield shared
