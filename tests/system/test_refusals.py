"""Runs that must refuse to start: one message, a code that is not 0, and nothing left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


def test_without_permission_for_namespaces(tmp_path):
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv, to give up the right to make namespaces")
    folder = tmp_path / "run"
    command = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin", sys.executable]
    command += ["-m", "orchestrator.commands.main", "train", "recipes/quickstart.yaml", f"run.folder={folder}"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.startswith("error: no sandbox of level 'namespaces' or better")
    assert "Traceback" not in done.stderr
    assert not folder.exists()
