"""What the tests take from the solution, and what they must not."""

from __future__ import annotations

import pytest

from common.tasks.asserts import read_assert
from common.tasks.exports import exports_of, needs_solution, test_imports
from common.tasks.source import read_source

names_imported = test_imports
del test_imports  # pytest would take it for a test


def analyse(
    *lines: str, entry_point: str | None = None, setup: str = "", reference: str | None = None
) -> tuple[str, str]:
    """The exports, and the imports of the tests, each as one text."""
    tests = [read_assert(line) for line in lines]
    prepared, solution = read_source(setup), None if reference is None else read_source(reference)
    exports = exports_of(tests, entry_point=entry_point, setup=prepared, reference=solution)
    return " ".join(exports), "; ".join(names_imported(tests, exports, prepared, solution))


@pytest.mark.parametrize(
    ("line", "imports"),
    [
        ("assert np.allclose(f(1), [1])", "import numpy as np"),
        ("assert abs(f(1) - 1) < 1e-6", ""),
        ("assert Counter(f(1)) == Counter([1])", "from collections import Counter"),
        ("assert math.isclose(f(1), 1)", "import math"),
        ("assert sqrt(f(1)) == 2", "from math import sqrt"),
        (
            "assert f(date(2020, 1, 2)) == datetime(2020, 1, 2)",
            "from datetime import date; from datetime import datetime",
        ),
        ("assert f(datetime.date(2020, 1, 2)) == 1", "import datetime"),
        ("assert sorted(f(2), key=lambda _: -_) == [x for x in f(1)]", ""),
        ("assert all(y for x in f(1) for y in x)", ""),
        ("assert (z := f(1)) and z > 0", ""),
    ],
)
@pytest.mark.parametrize("known", [{}, {"entry_point": "f"}, {"reference": "def f(x):\n    return x"}])
def test_tools_of_the_tests_are_their_own(line: str, imports: str, known: dict[str, str]):
    assert analyse(line, "assert f(1) == 2", **known) == ("f", imports)
    assert analyse(line, **known) == ("f", imports)


def test_a_solution_may_not_redefine_what_tests_judge_it_with():
    reference = "import numpy as np\nfrom collections import Counter\ndef abs(x): return 0\ndef f(x): return x\n"
    line = "assert abs(np.sum(f(1))) == 1 and Counter(f(1))"
    assert analyse(line, "assert f(2) == 2", reference=reference) == (
        "f",
        "from collections import Counter; import numpy as np",
    )


@pytest.mark.parametrize(
    ("lines", "exports"),
    [
        (["assert gcd(4, 6) == 2"], "gcd"),
        (["assert abs(gcd(4, 6)) == 2", "assert gcd(1, x=1) > 0"], "gcd"),
        (["assert sum([1]) > 0"], "sum"),
        (["assert select([1]) == 1"], "select"),
        (["assert add(1, 2) == 3", "assert Stack().size == 0"], "Stack add"),
        (["assert f(1) == LIMIT", "assert _g(2) == 1"], "LIMIT _g f"),
        (["assert deque(f(1)) == deque([1])"], "f"),
    ],
)
def test_without_a_reference_it_is_guessed_what_is_the_solutions(lines: list[str], exports: str):
    assert analyse(*lines)[0] == exports


def test_a_reference_tells():
    reference = "import sys\nclass Pair: pass\nLIMIT = 3\ndef helper(): pass\ndef best(x): return x\n"
    lines = ["assert best([Pair(1)]) == LIMIT", "assert best(2) == sys.getsizeof(2)"]
    assert analyse(*lines, reference=reference) == ("LIMIT Pair best", "import sys")
    assert analyse("assert sum([1]) == 1", reference="def sum(x): return 1")[0] == "sum"


def test_what_the_setup_defines_is_with_the_solution():
    setup = "import math as m\nfrom os.path import *\nclass Node: pass\nunused = 1\n"
    assert analyse("assert m.ceil(depth(Node())) == 1", entry_point="depth", setup=setup) == (
        "depth Node",
        "import math as m; from os.path import *",
    )


def test_setup_that_needs_the_solution_is_told_apart():
    assert needs_solution(read_source("root = Node(1)"))
    assert not needs_solution(read_source("import os\nroot = [math.pi, os, Counter(), len('')]\nother = root"))
