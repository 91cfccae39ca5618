"""Node, which runs JavaScript: where it is missing, tests are skipped, or fail where all must be there."""

from __future__ import annotations

import os

import pytest

from sandbox.languages import node_program
from tests.sandbox import levels


def require() -> None:
    if not node_program():
        reason = "node is not here: apt-get install nodejs"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)


def require_at(backend: levels.Backend) -> None:
    """Skip where a level has no Node although the machine does: not every user may run it."""
    require()
    if "javascript" not in backend.sandbox.describe()["languages"]:
        pytest.skip(f"{backend.name}: no Node that its programs may run")
