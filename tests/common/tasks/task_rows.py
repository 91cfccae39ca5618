"""Small rows in the shape of each published format, written for these tests."""

from __future__ import annotations

import base64
import gzip
import json
import pickle
import zlib
from pathlib import Path
from typing import Any

Fields = dict[str, Any]


def packed(text: object) -> str:
    """Pack as LiveCodeBench packs its private tests."""
    return base64.b64encode(zlib.compress(pickle.dumps(text))).decode()


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


MBPP_SCRIPT: Fields = {
    "task_id": 9001,
    "code": "def add(items, item):\n    return [*items, item]\n",
    "prompt": "Add them.",
    "source_file": "x.ipynb",
    "test_imports": ["import math"],
    "test_list": ["assert add([1], 2) == [1, 2]"],
    "test": (
        "def assertion(out, exp, atol):\n    assert out == exp, f'{out} is not {exp}'\n\n"
        "inputs = [[[], 0], [[1], 2]]\nresults = [[0], [1, 2]]\n"
        "for i, (inp, exp) in enumerate(zip(inputs, results)):\n    assertion(add(*inp), exp, math.floor(0.5))\n"
    ),
}
HUMANEVAL_SCRIPT: Fields = HUMANEVAL | {
    "task_id": "HumanEval/902",
    "test": (
        "def assertion(out, exp, atol):\n    assert abs(out - exp) <= atol\n\n"
        "def check(candidate):\n    inputs = [[4], [9]]\n    results = [2, 3]\n"
        "    for i, (inp, exp) in enumerate(zip(inputs, results)):\n"
        "        assertion(candidate(*inp), exp, 1e-6)\n"
    ),
}
CRUXEVAL: Fields = {
    "code": "def f(text, n):\n    return {c: text.count(c) for c in text[:n]}",
    "input": "'abca', 3",
    "output": "{'a': 2, 'b': 1, 'c': 1}",
    "id": "sample_900",
}
_ADD_STDIN = [{"input": "1 2\n", "output": "3\n", "testtype": "stdin"}]
_SUMS = [
    {"input": "3 4\n", "output": "7", "testtype": "stdin"},
    {"input": "0 0", "output": "0\n", "testtype": "stdin"},
]
LIVECODEBENCH: Fields = {
    "question_title": "Sum",
    "question_content": "Print the sum of two numbers.",
    "platform": "atcoder",
    "question_id": "abc900_a",
    "contest_id": "abc900",
    "contest_date": "2024-01-01T00:00:00",
    "starter_code": "",
    "difficulty": "easy",
    "public_test_cases": json.dumps(_ADD_STDIN),
    "private_test_cases": packed(json.dumps(_SUMS)),
    "metadata": "{}",
}
_PAIRS = [{"input": "[1, 2]\n4", "output": "[4, 8]", "testtype": "functional"}]
LIVECODEBENCH_CALL: Fields = LIVECODEBENCH | {
    "question_content": "Return the numbers, each times k.",
    "platform": "leetcode",
    "question_id": "9000",
    "starter_code": "class Solution:\n    def times(self, numbers: List[int], k: int) -> List[int]:\n        ",
    "public_test_cases": json.dumps(_PAIRS),
    "private_test_cases": packed(json.dumps([{"input": "[]\n0", "output": "[]", "testtype": "functional"}])),
    "metadata": json.dumps({"func_name": "times"}),
}
APPS: Fields = {
    "id": 900,
    "question": "Print half of a number.",
    "solutions": json.dumps(["print input()", "print(int(input()) / 2)\n"]),
    "input_output": json.dumps({"inputs": ["3\n", ["4", ""]], "outputs": ["1.5000001\n", ["2", ""]]}),
    "difficulty": "introductory",
    "url": "https://example.org/900",
    "starter_code": "",
}
APPS_CALL: Fields = APPS | {
    "id": 901,
    "question": "Count the words.",
    "solutions": json.dumps(
        [
            "class Solution:\n    def count(self, words: List[str], of) -> dict:\n        "
            "return {of[w]: words.count(w) for w in words}"
        ]
    ),
    "input_output": json.dumps(
        {
            "fn_name": "count",
            "inputs": [[["a", "b", "a"], {"a": 1, "b": 2}], [[], {}]],
            "outputs": [{"1": 2, "2": 1}, [{}]],
        }
    ),
    "starter_code": "class Solution:\n    def count(self, words: List[str], of) -> dict:\n        ",
}


def write(path: Path, *rows: object) -> Path:
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path
