"""Libraries for programs: from a folder, imported once where asked for, and missing ones named at the start."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from common.config import RewardConfig
from common.records import Task, TestCase, Verdict
from reward_service.configured import make_sandbox
from sandbox.inside import values
from sandbox.jail.backend import JailSandbox
from sandbox.types import Case, Limits, Program, SandboxUnavailable
from tests.sandbox.judged import criteria, verdicts

NUMPY = """
import sys
imported_by = sys.argv[0]
class ndarray: pass
generic = ndarray
class random:
    seeded = None
    @classmethod
    def seed(cls, number): cls.seeded = number
    @classmethod
    def get_state(cls): return cls.seeded
    set_state = seed
"""


@pytest.fixture(scope="module")
def packages() -> Iterator[Path]:
    """A folder outside of /tmp, where a jail has its own, with something of numpy's name."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        os.chmod(folder, 0o755)
        (Path(folder) / "numpy.py").write_text(NUMPY)
        (Path(folder) / "broken.py").write_text("import no_such_module\n")
        yield Path(folder)


@contextmanager
def real_numpy() -> Iterator[Path]:
    """A copy of numpy, since this environment may lie under /tmp."""
    installed = Path(np.__file__).parents[1]
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        os.chmod(folder, 0o755)
        for part in ("numpy", "numpy.libs"):
            if (installed / part).is_dir():
                unused = shutil.ignore_patterns("tests", "f2py", "*.pyi", "include", "*.a")
                shutil.copytree(installed / part, Path(folder) / part, ignore=unused)
        yield Path(folder)


def test_a_preloaded_library_is_imported_before_any_program_and_its_luck_is_fixed(packages: Path) -> None:
    config = RewardConfig(sandbox_slots=1, sandbox_level="uid", packages=packages, preload=("numpy",))
    calls = ("numpy.imported_by", "numpy.random.seeded")
    program = Program("import numpy", tuple(Case(call, call=call) for call in calls))
    sandbox = make_sandbox(config)
    found = [values.decode(run.value or b"") for run in sandbox.run(program, Limits())]
    sandbox.close()
    assert found == ["", 0]


def test_without_preload_a_program_imports_for_itself(packages: Path) -> None:
    with JailSandbox(packages=packages) as sandbox:
        (run,) = sandbox.run(Program("import numpy", (Case("0", call="numpy.imported_by"),)), Limits())
    assert values.decode(run.value or b"") == "solution.py"


@pytest.mark.parametrize(
    ("preload", "problem"),
    [
        (("pandas",), "preload: there is no module pandas in "),
        (("numpy", "a.b"), "preload: there is no module a.b in "),
        (("broken",), "No module named 'no_such_module'"),
    ],
)
def test_what_cannot_be_preloaded_is_told_at_the_start(
    packages: Path, preload: tuple[str, ...], problem: str
) -> None:
    with pytest.raises(SandboxUnavailable, match=problem):
        JailSandbox(packages=packages, preload=preload)
    with pytest.raises(SandboxUnavailable, match="in the standard library; name packages that have it"):
        JailSandbox(preload=("numpy",))


def test_preload_needs_somewhere_to_come_from() -> None:
    with pytest.raises(ValueError, match="preload: names modules of packages or of a docker_image; set one"):
        RewardConfig(preload=("numpy",))
    with pytest.raises(ValueError, match="should match pattern"):
        RewardConfig.model_validate({"preload": ["os; import sys"], "packages": "/usr"})


def test_an_array_of_a_script_reaches_the_solution_as_one() -> None:
    script = """
import numpy as np
x = np.array([[1.5, 2.0], [3.0, 4.0]])
np.testing.assert_allclose(f(x), [[2.25, 4.0], [9.0, 16.0]])
assert (f(x=x)[1] == [9.0, 16.0]).all()
assert f([np.array([2])])[0].shape == (1,)
"""
    source = "def f(x):\n    return [each * each for each in x] if isinstance(x, list) else x * x\n"
    test = TestCase(kind="script", script=script)
    task = Task(id="squares", prompt="", tests=(test,), exports=("f",), reference=source)
    with real_numpy() as folder, JailSandbox(packages=folder, preload=("numpy",)) as sandbox:
        right = criteria(sandbox, task)
        assert verdicts(sandbox, source, task, right) == [Verdict.PASSED]
        assert verdicts(sandbox, "def f(x):\n    return x + x\n", task, right) == [Verdict.FAILED]


def test_an_array_of_the_solution_reaches_a_script_as_one() -> None:
    """Only where the script has numpy; any other compares lists, as a ``call`` does."""
    checks = (
        "import numpy as np\nassert isinstance(f(2), np.ndarray) and f(2).dtype == 'float32'",
        "import numpy as np\nassert np.allclose(f(2), 0.5)",
        "import numpy as np\nx = np.ones(3)\ndouble(x)\nassert (x == 2).all()",
        "import numpy as np\nassert np.array_equal(TABLE, np.arange(5000))",
        "assert f(2) == [0.5, 0.5]",
    )
    tests = tuple(TestCase(kind="script", script=script) for script in checks)
    source = """
import numpy as np
TABLE = np.arange(5000)
def f(x):
    return np.full(x, 0.5, 'float32')
def double(x):
    x *= 2
"""
    wrong = {
        "is empty, of which all is true": (1, source.replace("(x, 0.5", "((0, 1), 0.5")),
        "is an empty list": (1, source.replace("return ", "return [] and ")),
        "changes nothing": (2, source.replace("x *= 2", "pass")),
        "differs in the middle": (3, source.replace("5000)\n", "5000)\nTABLE[2500] = 0\n")),
    }
    task = Task(id="arrays", prompt="", tests=tests, exports=("f", "double", "TABLE"), reference=source)
    with real_numpy() as folder, JailSandbox(packages=folder, preload=("numpy",)) as sandbox:
        right = criteria(sandbox, task)
        assert verdicts(sandbox, source, task, right) == [Verdict.PASSED] * len(tests)
        for what, (place, changed) in wrong.items():
            assert verdicts(sandbox, changed, task, right)[place] is Verdict.FAILED, what
