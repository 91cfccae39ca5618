"""The attack and legitimate corpora at every level this machine offers."""

from __future__ import annotations

import os
import sys

import battle
import levels
import pytest

from sandbox.probe import Level, probe

FIGHT = """
import json, sys, battle
from sandbox.probe import Level
sys.stdout.write(json.dumps(battle.fight(Level(sys.argv[1]), sys.executable)))
"""


def _skip_unless(level: Level, python: str) -> None:
    found = probe(python, [level])
    if found.level is None:
        pytest.skip(f"{level}: {found.refused[level]}")


def test_this_machine_offers_a_level() -> None:
    assert probe().level is not None


def test_walls_of_the_root_jail() -> None:
    _skip_unless(Level.JAIL, sys.executable)
    assert battle.fight(Level.JAIL, sys.executable) == []


def test_walls_without_namespaces() -> None:
    python = levels.public_python() if os.geteuid() == 0 else None
    if python is None:
        pytest.skip("needs root and an interpreter that every user may read")
    _skip_unless(Level.UID, python)
    assert battle.fight(Level.UID, python) == []


def test_walls_of_an_ordinary_users_jail() -> None:
    if os.geteuid() != 0:
        _skip_unless(Level.NAMESPACES, sys.executable)
        assert battle.fight(Level.NAMESPACES, sys.executable) == []
        return
    if levels.public_python() is None:
        pytest.skip("no interpreter that an ordinary user may run")
    asked = "import json, sys; from sandbox.probe import *; p = probe(); print(json.dumps([p.level, p.refused]))"
    level, refused = levels.run_as_ordinary_user(asked)
    if level is None:
        pytest.skip(f"no unprivileged namespaces: {refused}")
    assert levels.run_as_ordinary_user(FIGHT, Level.NAMESPACES) == []


def test_ordinary_user_below_the_minimum_is_refused() -> None:
    if os.geteuid() != 0 or levels.public_python() is None:
        pytest.skip("needs root and an interpreter that every user may read")
    code = """
import json
from sandbox.jail import JailSandbox
from sandbox.types import SandboxUnavailable
try:
    JailSandbox(minimum_level="jail")
    print(json.dumps("started"))
except SandboxUnavailable as error:
    print(json.dumps(str(error)))
"""
    message = levels.run_as_ordinary_user(code)
    assert "no sandbox of level 'jail'" in message
    assert "jail: needs root" in message
