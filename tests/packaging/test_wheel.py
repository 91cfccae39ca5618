"""The wheel, installed in an environment where our packages come from nowhere else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from couplet_rl import ROOMS
from tests.packaging.environments import packages_folders

REPOSITORY = Path(__file__).parents[2]
_SECONDS = 240.0
_TINY = (
    "run.steps=1",
    "data.train_tasks=40",
    "data.held_out_tasks=8",
    "rollout.workers=1",
    "learner.ranks=1",
    "rollout.group_size=4",
    "learner.groups_per_step=2",
    "reward.sandbox_level=uid",
    "ray.dashboard=false",
)
_WHERE = f"""
import importlib, json
print(json.dumps({{name: importlib.import_module(name).__file__ for name in {[*ROOMS, "couplet_rl"]}}}))
"""


def run(command: list[str | Path], folder: Path) -> str:
    """The output of a command, run in ``folder`` without this process's Python settings."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=_SECONDS)
    assert done.returncode == 0, f"{command}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the repository: a build leaves folders behind."""
    source, target = tmp_path_factory.mktemp("source") / "couplet", tmp_path_factory.mktemp("wheel")
    source.mkdir()
    for entry in REPOSITORY.iterdir():
        if entry.is_file():
            shutil.copy(entry, source)
        elif (entry / "__init__.py").exists() or entry.name in ("deploy", "docs", "recipes"):
            shutil.copytree(entry, source / entry.name, ignore=shutil.ignore_patterns("__pycache__"))
    build = f"import setuptools.build_meta as backend; backend.build_wheel({str(target)!r})"
    run([sys.executable, "-c", build], source)
    (file,) = target.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh virtual environment with the wheel, which takes its dependencies from this one."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    venv.create(folder, symlinks=True)
    python = folder / "bin/python"
    (purelib,) = folder.glob("lib/python*/site-packages")
    # Entries of a .pth file are not searched for further .pth files, so our editable installation stays behind.
    (purelib / "dependencies.pth").write_text("\n".join(map(str, packages_folders())))
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index"]
    run([*pip, "--ignore-installed", "--disable-pip-version-check", wheel], folder)
    return folder


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


def test_the_wheel_holds_our_packages_and_their_data_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.partition("/")[0] for name in names if not name.partition("/")[0].endswith(".dist-info")}
    assert tops == {*ROOMS, "couplet_rl.py", "recipes"}
    recipes = {str(file.relative_to(REPOSITORY)) for file in (REPOSITORY / "recipes").rglob("*.yaml")}
    assert recipes <= set(names)
    for data in ("common/models/quickstart/model.safetensors", "orchestrator/report/templates/report.html"):
        assert data in names


def test_ours_is_imported_from_the_wheel(environment: Path, empty: Path) -> None:
    found = json.loads(run([environment / "bin/python", "-c", _WHERE], empty))
    assert all(Path(file).is_relative_to(environment) for file in found.values()), found


def test_the_quick_start_runs_in_an_empty_folder(environment: Path, empty: Path) -> None:
    run([environment / "bin/couplet", "quickstart", "--plain", "--run-folder", "run", *_TINY], empty)
    assert json.loads((empty / "run/summary.json").read_text())["status"] == "finished"
    code = json.loads((empty / "run/run.json").read_text())["code"]
    assert Path(code).is_relative_to(environment)
    assert (empty / "run/report.html").exists()
    assert [path.name for path in empty.iterdir()] == ["run"]


def test_recipes_are_found_by_their_names(environment: Path, empty: Path) -> None:
    shown = run([environment / "bin/couplet", "train", "quickstart", "--dry-run"], empty)
    assert "run folder: runs/quickstart" in shown
    shown = run([environment / "bin/couplet", "adapt", "tiny_chain/adapt", "--dry-run"], empty)
    assert "run folder: runs/tiny-chain/adapt" in shown
    assert list(empty.iterdir()) == []
