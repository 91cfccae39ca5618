"""A module of the user's with the name of one of our top-level packages, on the path before ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from couplet_rl import ROOMS, hidden_room

REPOSITORY = Path(__file__).parents[2]


def couplet(folder: Path, *path: Path) -> subprocess.CompletedProcess[str]:
    """`couplet --help` in ``folder``, with these folders on Python's path before the repository."""
    # -P: the current folder is on the path only if PYTHONPATH says so, as for the console script.
    command = [sys.executable, "-P", "-c", "import couplet_rl; couplet_rl.main()", "--help"]
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*path, REPOSITORY)))},
        capture_output=True,
        text=True,
        timeout=60,
    )


def make(kind: str, folder: Path, room: str) -> Path:
    """A module that must never be imported; returns its file, or its folder if it has none."""
    file = folder / (f"{room}.py" if kind == "module" else f"{room}/__init__.py")
    file.parent.mkdir(exist_ok=True)
    file.write_text("raise AssertionError('imported')\n")
    return file


def test_all_our_packages_are_watched() -> None:
    packages = {file.parent.name for file in REPOSITORY.glob("*/__init__.py")}
    assert set(ROOMS) == packages - {"tests", "deploy"}


@pytest.mark.parametrize("kind", ["module", "package"])
@pytest.mark.parametrize("room", ROOMS)
def test_one_error_names_both_files(room: str, kind: str, tmp_path: Path) -> None:
    theirs = make(kind, tmp_path, room)
    done = couplet(tmp_path, Path("."))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert str(theirs) in done.stderr
    assert str(REPOSITORY / room / "__init__.py") in done.stderr
    assert f"{tmp_path} is not on Python's path" in done.stderr


def test_nothing_is_said_of_folders_that_hide_nothing(tmp_path: Path) -> None:
    make("module", tmp_path, "common")
    assert couplet(tmp_path).returncode == 0
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/learner").mkdir()  # data, say; our package has a file to import
    assert couplet(tmp_path, tmp_path / "elsewhere").returncode == 0


def test_another_copy_of_all_our_packages_hides_nothing(tmp_path: Path) -> None:
    for room in ROOMS:
        make("package", tmp_path, room)
    assert hidden_room([str(tmp_path)]) is None


def test_a_run_is_refused_where_its_actors_would_import_the_users_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray puts the folder of the command before all others on the path of its workers."""
    theirs = make("module", tmp_path, "sandbox")
    done = subprocess.run(
        [sys.executable, "-P", "-c", "import couplet_rl; couplet_rl.main()", "quickstart"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {theirs} would be imported in place of")
    assert [path.name for path in tmp_path.iterdir()] == ["sandbox.py"]
