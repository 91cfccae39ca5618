from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from rollout_workers.backends.vllm_backend.temporary_folder import temporary_folder

_KILLED = """
import os, signal
from rollout_workers.backends.vllm_backend.temporary_folder import temporary_folder
with temporary_folder() as folder:
    (folder / "file").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def test_what_a_killed_owner_left_is_removed_and_what_a_living_one_has_is_not(temporary_files: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", _KILLED], timeout=60)
    assert killed.returncode == -signal.SIGKILL
    (left,) = temporary_files.iterdir()
    assert (left / "file").exists()
    with temporary_folder() as one, temporary_folder() as other:
        assert set(temporary_files.iterdir()) == {one, other}
    assert list(temporary_files.iterdir()) == []
