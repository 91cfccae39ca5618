"""Programs see ``sandbox/inside`` of this package and nothing else; only it decides which image is built."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import sandbox
from sandbox.docker.image import runner_archive
from sandbox.inside import values
from sandbox.types import Case, Limits, Program
from tests.sandbox import levels

DEADLINE_S = 60
PACKAGE = Path(sandbox.__file__).resolve().parent
INSIDE = sorted(path.name for path in (PACKAGE / "inside").glob("*.py"))
SOURCE = """
import os, sys
OURS = ("sandbox", "common", "reward_service", "rollout_workers", "learner", "orchestrator", "evaluation")
def files():
    return sorted(os.path.join(folder, name) for folder, _, names in os.walk("/couplet") for name in names)
def modules():
    return sorted(name for name in sys.modules if name.partition(".")[0] in OURS)
"""


def ask(name: str, request: pytest.FixtureRequest, *calls: str) -> list[object]:
    cases = tuple(Case(str(index), call=call) for index, call in enumerate(calls))
    with levels.opened(name, request) as backend:
        runs = backend.sandbox.run(Program(SOURCE, cases), Limits())
    return [values.decode(run.value or b"") for run in runs]


def test_a_jail_holds_nothing_of_ours_but_the_inside(request: pytest.FixtureRequest) -> None:
    found, whole_package = ask(levels.STRONGEST, request, "files()", f"os.path.exists({str(PACKAGE)!r})")
    assert isinstance(found, list)
    assert [path for path in found if "/__pycache__/" not in path] == [
        f"/couplet/sandbox/inside/{name}" for name in INSIDE
    ]
    assert {os.path.dirname(path) for path in found} <= {
        "/couplet/sandbox/inside",
        "/couplet/sandbox/inside/__pycache__",
    }
    assert whole_package is False


@pytest.mark.parametrize("name", levels.NAMES)
def test_a_runner_imports_nothing_of_ours_but_the_inside(name: str, request: pytest.FixtureRequest) -> None:
    (found,) = ask(name, request, "modules()")
    assert isinstance(found, list)
    assert "sandbox.inside.runner" in found
    assert [module for module in found if module != "sandbox" and not module.startswith("sandbox.inside")] == []


def test_a_container_gets_nothing_but_the_inside() -> None:
    with tarfile.open(fileobj=io.BytesIO(runner_archive())) as archive:
        members = archive.getmembers()
    assert [member.name for member in members if member.isfile()] == [
        f"couplet/sandbox/inside/{name}" for name in INSIDE
    ]
    assert [member.name for member in members if not member.isfile()] == [
        "couplet",
        "couplet/sandbox",
        "couplet/sandbox/inside",
    ]


def test_the_image_changes_with_the_inside_and_with_nothing_else(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "sandbox", ignore=shutil.ignore_patterns("__pycache__"))

    def tag() -> str:
        code = "from sandbox.docker.image import runner_tag; print(runner_tag('sha256:0'))"
        return subprocess.run(
            [sys.executable, "-B", "-c", code],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            text=True,
            timeout=DEADLINE_S,
            check=True,
        ).stdout

    def change(path: str) -> None:
        with open(tmp_path / "sandbox" / path, "a", encoding="utf-8") as file:
            file.write("\n# changed\n")

    first = tag()
    for outside in ("judge/verdict.py", "jail/slot.py", "docker/backend.py", "pool.py"):
        change(outside)
    assert tag() == first
    change("inside/served.py")
    assert tag() != first
