"""The static check against the imports of a real jail."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from common.records import Task, TestCase
from reward_service.offered_imports import OfferedImports
from reward_service.static_check import StaticCheck
from reward_service.user_rewards import Completion
from sandbox.jail.backend import JailSandbox
from sandbox.types import Limits

TASK = Task(id="t", prompt="", tests=(TestCase(call="len(f([1]))", expected="1"),))
F = "def f(x):\n    return x\n"


@pytest.fixture(scope="module")
def check(sandbox: JailSandbox) -> StaticCheck:
    return StaticCheck(OfferedImports(sandbox, Limits()))


def thirds(check: StaticCheck, program: str | None, task: Task = TASK) -> int:
    value = check(task, Completion("", program, (), 1.0)) * 3
    assert value == int(value)
    return int(value)


SOURCES = {
    F: 3,
    "def f(x):\n    return [y for y in x if y not in seen]\nseen = set()\n": 3,
    "def f(x):\n    return y\n": 2,
    "def f(x):\n    print(__name__, sorted(x), exit)\n    help(x)\n": 2,  # the site module's, not in the sandbox
    "class A:\n    def g(self):\n        return __class__\ndef f(x):\n    return A().g()\n": 3,
    "def f(x):\n    global total\n    total = x\n    return total\ndef g():\n    return total\n": 3,
    "import math, os.path\nfrom collections.abc import Mapping as M\ndef f(x):\n    return math, os, M\n": 3,
    "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import numpy\n" + F: 3,
    "import typing\nif typing.TYPE_CHECKING:\n    import numpy\nelse:\n    import pandas\n" + F: 2,
    "try:\n    import numpy\nexcept* ImportError:\n    pass\n" + F: 3,
    "try:\n    from operator import itemgetter as f\nexcept ImportError:\n    f = None\n": 3,
    "if True:\n    from math import *\ndef f(x):\n    return floor(x)\n": 3,
    "def g():\n    global f\n    def f(x):\n        return x\ng()\n": 3,
    "def g():\n    from operator import itemgetter as f\n": 0,
    "from . import sibling\n" + F: 2,
    "import numpy\n" + F: 2,
    "from math import sqroot\n" + F: 2,
    "def f(x):\n    import collections.abcd\n    return y\n": 1,
    "try:\n    import numpy as np\nexcept ImportError:\n    np = None\ndef f(x):\n    return np\n": 3,
    "try:\n    import numpy\nfinally:\n    pass\n" + F: 2,
    "from math import *\ndef f(x):\n    return floor(x)\n": 3,
    "from math import *\ndef f(x):\n    return flor(x)\n": 2,
    "from operator import itemgetter as f\n": 3,
    "from __future__ import annotations\ndef f(x: Nothing) -> Nothing:\n    return x\n": 3,
    "f(x) = 1\n": 0,
    "def g(x):\n    return x\n": 0,
    "": 0,
    "\n".join(f"import m{number}" for number in range(100)) + f"\n{F}": 1,
    f"import {'.'.join(['os'] * 500)}\n{F}": 1,
}


@pytest.mark.parametrize("source", SOURCES)
def test_a_third_each_for_parsing_imports_and_names(check: StaticCheck, source: str) -> None:
    assert thirds(check, source) == SOURCES[source]


def test_a_text_without_a_program_gets_nothing_and_a_script_needs_no_names(check: StaticCheck) -> None:
    assert thirds(check, None) == 0
    script = TASK.model_copy(update={"tests": (TestCase(kind="stdin", expected="1"),)})
    assert [thirds(check, source, script) for source in ("print(1)\n", "", "# 1\n")] == [3, 0, 0]
    exporting = TASK.model_copy(update={"exports": ("f", "g")})
    assert [thirds(check, source, exporting) for source in (F, f"{F}g = f\n")] == [0, 3]


def test_nothing_is_imported_here(check: StaticCheck, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "only_on_the_host.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert thirds(check, f"import only_on_the_host\nimport antigravity\n{F}") == 2
    assert not {"only_on_the_host", "antigravity"} & sys.modules.keys()


@pytest.mark.parametrize(
    "source",
    [
        "(" * 10_000,
        "-" * 90_000 + "1",
        "1+" * 45_000 + "1",
        "a" + ".b" * 45_000,
        "lambda: " * 10_000 + "1",
        "if a:\n pass\n" + "elif a:\n pass\n" * 6_000 + "else",
        "x = '\0'",
        "\ud800",
        "9" * 10_000,
        "x" * 200_000,
        # Each `finally` is compiled twice: half a million copies of the innermost.
        "\n".join(f"{' ' * depth}try: pass\n{' ' * depth}finally:" for depth in range(19)) + " pass",
    ],
    ids=lambda source: repr(source[:12]),
)
def test_a_hostile_text_gets_nothing(check: StaticCheck, source: str) -> None:
    assert thirds(check, source) == 0
