"""The attacks against every backend and level that this machine offers.

All of them run at the strongest level and in containers; the weaker levels run those that the level must stop.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.jail.probe import probe
from sandbox.types import Case, Limits, Program
from tests.sandbox import battle, footprint, levels, other_user, programs


@pytest.fixture(params=levels.NAMES, scope="module")
def backend(request: pytest.FixtureRequest) -> Iterator[levels.Backend]:
    with levels.opened(request.param, request) as opened:
        yield opened


@pytest.fixture
def laid(tmp_path: Path) -> Iterator[battle.Bait]:
    with battle.bait(tmp_path) as bait:
        yield bait


def test_attacks(backend: levels.Backend, laid: battle.Bait) -> None:
    complaints = battle.fight(backend, laid)
    planted, left = battle.residue(backend, laid.marker)
    assert planted > 0, "the scan finds nothing at all"
    if left:
        complaints.append(f"{left} pages of a later program hold text of the attacks")
    assert complaints == []


def test_attacks_beside_tests(backend: levels.Backend, laid: battle.Bait) -> None:
    complaints = battle.fight_beside_tests(backend, laid)
    _, left = battle.residue(backend, laid.marker)
    if left:
        complaints.append(f"{left} pages of a later program hold text of the attacks")
    assert complaints == []


def test_nothing_of_one_program_is_in_the_memory_of_the_next(backend: levels.Backend) -> None:
    text = "residue-of-source-input-output-value-error-and-file"
    source = f"""
import sys
def f(x): return [x, {text!r} * 500]
def g(x): raise ValueError({text!r} * 10)
open({text!r}, "w").write({text!r} * 50)
print({text!r} * 500)
print({text!r} * 500, file=sys.stderr)
if __name__ == "__main__":
    print(sys.stdin.read())
"""
    cases = (
        Case("0", "call", call=f"f({text!r})"),
        Case("1", "call", call=f"g({text!r})"),
        Case("2", "script", script=f"assert f({text!r}) == [{text!r}] * 2, {text!r}"),
        Case("3", "stdin", stdin=text * 500),
    )
    for _ in range(3):
        backend.sandbox.run(Program(source, cases, test_setup=f"x = {text!r}", exports=("f",)), Limits())
    planted, left = battle.residue(backend, text)
    assert planted > 0
    assert left == 0


def test_closing_leaves_nothing(request: pytest.FixtureRequest) -> None:
    with levels.opened("jail", request) as opened:
        opened.sandbox.run(Program("", (Case("0", "call", call="1"),)), Limits())
        (first,) = opened.pids()
        family = [first, *footprint.descendants(first)]
        groups = footprint.control_groups(family[-1])
    assert footprint.gone(family)
    assert not [group for group in groups if group.exists()]


def test_the_corpus_is_as_large_as_it_was() -> None:
    assert len(programs.attacks()) >= 110
    assert len(battle.attacks_at(levels.STRONGEST)) == len(battle.attacks_at("docker")) >= 110
    assert len(battle.attacks_at("uid")) >= 75


def test_this_machine_offers_a_level() -> None:
    assert probe().level is not None


def test_at_least_one_real_level_ran(request: pytest.FixtureRequest) -> None:
    chosen = [item.name for item in request.session.items if item.name.startswith("test_attacks[")]
    if not chosen:
        pytest.skip("no test of the attacks was selected")
    assert levels.real_levels_that_ran()


def test_ordinary_user_below_the_minimum_is_refused() -> None:
    python = levels.public_python() if os.geteuid() == 0 else None
    if python is None:
        pytest.skip("needs root and an interpreter that every user may read")
    code = """
import sys
sys.path.insert(0, sys.argv[1])
from sandbox.jail.backend import JailSandbox
from sandbox.types import SandboxUnavailable
try:
    JailSandbox(minimum_level="jail")
    print("started")
except SandboxUnavailable as error:
    print(error)
"""
    user = other_user.OrdinaryUser(python)
    try:
        process = user.popen(code)
        try:
            message = process.communicate(timeout=other_user.DEADLINE_S)[0].decode()
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    finally:
        user.remove()
    assert "no sandbox of level 'jail'" in message
    assert "jail: needs root" in message
