"""Random programs print the same and end the same in the jail as under plain python."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sandbox.jail.backend import JailSandbox
from sandbox.types import Case, CaseRun, Limits, Outcome, Program
from tests.sandbox.random_programs import random_program

PROGRAMS = 200
WORKERS = 2
DEADLINE_S = 60


def plain(folder: Path, source: str, stdin: str) -> tuple[str, int]:
    environment = {"PYTHONHASHSEED": "0", "LANG": "C.UTF-8", "PATH": "/usr/bin:/bin"}
    folder.mkdir()
    (folder / "solution.py").write_text(source)
    done = subprocess.run(
        [os.path.realpath(sys.executable), "-I", "solution.py"],
        input=stdin.encode(),
        capture_output=True,
        cwd=folder,
        env=environment,
        timeout=DEADLINE_S,
        check=False,
    )
    return done.stdout.decode(), done.returncode


@pytest.fixture(scope="module")
def sandbox():
    with JailSandbox(WORKERS) as shared:
        yield shared


def test_random_programs_do_the_same_as_under_plain_python(sandbox: JailSandbox, tmp_path: Path) -> None:
    programs = [random_program(seed) for seed in range(PROGRAMS)]

    def jailed(program: tuple[str, str]) -> CaseRun:
        return sandbox.run(Program(program[0], (Case("0", "stdin", stdin=program[1]),)), Limits(wall_s=60))[0]

    with ThreadPoolExecutor(WORKERS) as pool:
        runs = list(pool.map(jailed, programs))
        expected = list(pool.map(lambda item: plain(tmp_path / str(item[0]), *item[1]), enumerate(programs)))
    differences = [
        f"program {seed}: {found!r} instead of {wanted!r}\n{programs[seed][0]}"
        for seed, (run, wanted) in enumerate(zip(runs, expected, strict=True))
        if (found := (run.stdout.decode(), run.exit_code)) != wanted
        or (run.outcome is Outcome.OK) != (wanted[1] == 0)
    ]
    assert len(differences) == 0, f"{len(differences)} differ; the first:\n{differences[0]}"
    codes = {code for _, code in expected}
    assert len(codes) > 10, "the programs hardly differ in how they end"
    assert len({out for out, _ in expected}) > 0.9 * PROGRAMS, "the programs hardly differ in what they print"
