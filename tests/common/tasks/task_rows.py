"""Small rows in the shape of each published format, written for these tests."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

Fields = dict[str, Any]

MBPP: Fields = {
    "task_id": 11,
    "text": "Add one.",
    "code": "def inc(x):\n    return x + 1",
    "test_setup_code": "import math",
    "test_list": ["assert inc(1) == 2", "assert inc(-1) == 0"],
    "challenge_test_list": ["assert inc(10**3) == 1001"],
}
SANITIZED: Fields = {
    "source_file": "x.ipynb",
    "task_id": 12,
    "prompt": "Half of it.",
    "code": "def half(x):\n    return x / 2",
    "test_imports": ["import math"],
    "test_list": ["assert math.isclose(half(1), 0.5)", "assert half(2) == 1"],
}
ACECODE: Fields = {
    "id": "ace_1",
    "source": "oss",
    "question": "Negate.",
    "test_cases": ["assert neg(1) == -1"],
    "inferences": [],
}
OWN: Fields = {"id": "own_1", "prompt": "p", "tests": [{"kind": "stdin", "stdin": "1\n", "expected": "2\n"}]}
HUMANEVAL: Fields = {
    "task_id": "HumanEval/900",
    "prompt": 'import math\n\ndef square(x):\n    return x * x\n\ndef root(x):\n    """Its root."""\n',
    "entry_point": "root",
    "canonical_solution": "    return math.sqrt(x)\n",
    "test": (
        "META = {}\n\ndef check(candidate):\n    assert candidate(4) == 2\n    assert True\n    y = 3\n"
        "    assert abs(square(candidate(y)) - y) < 1e-9, 'far'\n"
    ),
}
HUMANEVAL_PLUS: Fields = {
    "task_id": "HumanEval/901",
    "prompt": 'def double(x):\n    """Twice."""\n',
    "entry_point": "double",
    "canonical_solution": "    return x + x\n",
    "contract": "",
    "base_input": [[1], [[2]]],
    "plus_input": [["a"], [1.5]],
    "atol": 0,
}
MBPP_PLUS: Fields = {
    "task_id": "Mbpp/9000",
    "prompt": '"""\nAdd them.\nassert add([1], 2) == [1, 2]\n"""\n',
    "entry_point": "add",
    "canonical_solution": "\ndef add(items, item):\n    return [*items, item]\n",
    "base_input": [[[], 0], [[1], 2]],
    "plus_input": [[[3], None]],
    "atol": 0,
    "contract": "",
    "assertion": "assert add([], 0) == [0]\nassert add([1], 2) == [1, 2]",
}
BIGCODEBENCH: Fields = {
    "task_id": "BigCodeBench/9000",
    "complete_prompt": 'import json\nKEY = "k"\ndef task_func(x):\n    """Dump it."""\n',
    "instruct_prompt": "Dump it.",
    "code_prompt": 'import json\nKEY = "k"\ndef task_func(x):\n',
    "canonical_solution": "    return json.dumps({KEY: x})",
    "test": (
        "import unittest\nimport numpy as np\n\nclass TestCases(unittest.TestCase):\n"
        "    def setUp(self):\n        self.one = 1\n"
        "    def test_one(self):\n        self.assertEqual(json.loads(task_func(self.one)), {KEY: 1})\n"
        "    def test_two(self):\n        self.assertIsInstance(task_func(2), str)\n"
        "class More(TestCases):\n    def test_three(self):\n        pass\n"
        "class Helper:\n    def test_nothing(self):\n        pass\n"
    ),
    "entry_point": "task_func",
    "libs": "['json']",
}


def write(path: Path, *rows: object) -> Path:
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path
