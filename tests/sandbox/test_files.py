"""Files that a test gives to a program and expects of it: bounded, seen by it alone, compared on the host."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from common.records import Task, TestCase, Verdict
from sandbox.inside import values
from sandbox.judge.verdict import criterion_of, judge, program_for
from sandbox.types import Case, Limits, Outcome, Program
from tests.sandbox import levels

COPY = "import sys\nwith open('in.txt') as file:\n    open('out.txt', 'w').write(file.read().upper())\n"
LIMITS = Limits()
FILES = {"in.txt": "fig\npear\n"}


@pytest.mark.parametrize("level", levels.NAMES)
def test_files_go_in_and_come_out(backend_at: Callable[[str], levels.Backend], level: str) -> None:
    source = "import os\ntext = open('data/a.csv', newline='').read()\nos.makedirs('out')\n"
    source += "open('out/b.csv', 'w', newline='').write(text * 2)\n"
    kept = "def f():\n    open('c', 'wb').write(b'\\xff')\n    return sorted(os.listdir('.'))\n"
    case = {"files": {"data/a.csv": "1,ä\r\n"}, "collected": ("out/b.csv", "none", "c")}
    cases = (Case("0", "stdin", **case), Case("1", "call", call="f()", **case), Case("2", "call", call="f()"))
    sandbox = backend_at(level).sandbox
    stdin, call, other = sandbox.run(Program(f"{source}{kept}", cases), Limits())
    assert stdin.outcome is Outcome.OK, stdin
    assert values.decode(stdin.files or b"") == ["1,ä\r\n1,ä\r\n".encode(), None, None]
    assert values.decode(call.value or b"") == ["c", "data", "out"]
    assert values.decode(call.files or b"") == ["1,ä\r\n1,ä\r\n".encode(), None, b"\xff"]
    assert (other.outcome, other.files) == (Outcome.ERROR, None), "a test's files are gone with it"


@pytest.fixture(scope="module")
def run(request: pytest.FixtureRequest, backend_at: Callable[[str], levels.Backend]) -> Callable[..., Verdict]:
    """Judges a program by one test, at the strongest level."""

    def judged(source: str, limits: Limits = LIMITS, **fields: object) -> Verdict:
        test = TestCase.model_validate({"kind": "stdin", "expected": "", **fields})
        task = Task(id="files", prompt="", tests=(test,))
        (done,) = backend_at(levels.STRONGEST).sandbox.run(program_for(source, task), limits)
        return judge(done, test, criterion_of(test))

    return judged


@pytest.mark.parametrize(
    "source",
    [
        COPY,
        f"{COPY}sys.exit()",
        "out = open('out.txt', 'w')\nout.write(open('in.txt').read().upper())",
        "import os\nos.mkdir('there')\nopen('out.txt', 'w').write('FIG\\nPEAR')\nos.chdir('there')",
    ],
)
def test_right_files_pass(run: Callable[..., Verdict], source: str) -> None:
    assert run(source, files=FILES, expected_files={"out.txt": "FIG\nPEAR\n"}) is Verdict.PASSED


@pytest.mark.parametrize(
    ("source", "verdict"),
    [
        ("", Verdict.FAILED),
        (COPY.replace("upper", "lower"), Verdict.FAILED),
        (f"{COPY}print('FIG')", Verdict.FAILED),
        (f"{COPY}sys.exit(3)", Verdict.ERROR),
        ("import os\nos.mkdir('out.txt')", Verdict.FAILED),
        ("import os\nos.symlink('in.txt', 'out.txt')", Verdict.FAILED),
        ("open('out.txt', 'w').write('x' * 2_000_000)", Verdict.FAILED),
        ("import os\nos.write(3, b'\\x05\\0\\0\\0Fzzzz')\nos._exit(0)", Verdict.ERROR),
        ("import os\nos.write(3, b'\\x05\\0\\0\\0Ftrue')\nos._exit(0)", Verdict.ERROR),
        ("import os\nos.write(3, b'\\x06\\0\\0\\0F[\"l\"]')\nos._exit(0)", Verdict.ERROR),
        ("import os\nos.write(3, b'\\x01\\0\\0\\0F' * 3)", Verdict.OUTPUT),
    ],
)
def test_wrong_files_do_not(run: Callable[..., Verdict], source: str, verdict: Verdict) -> None:
    assert run(source, files=FILES, expected_files={"out.txt": "FIG\nPEAR\n"}) is verdict


def test_a_report_of_files_buys_no_time(run: Callable[..., Verdict]) -> None:
    spin = "while time.process_time() - begin < {}: pass\n"
    report = 'os.write(3, b\'\\x11\\0\\0\\0F["l",["b","31"]]\')\n'
    source = "import os, time\nbegin = time.process_time()\n"
    source += f"{spin.format(0.3)}{report}{spin.format(0.75)}os._exit(0)"
    assert run(source, Limits(cpu_s=0.5, wall_s=20.0), expected_files={"out.txt": "1"}) is Verdict.TIMEOUT
    assert run(source, Limits(cpu_s=5, wall_s=20.0), expected_files={"out.txt": "1"}) is Verdict.PASSED


def test_numbers_in_files_are_compared_as_printed_ones(run: Callable[..., Verdict]) -> None:
    expected = {"expected_files": {"out.txt": "0.3 1e3"}, "comparison": "close", "tolerance": 1e-6}
    assert run("open('out.txt', 'w').write(f'{0.1 + 0.2} {1000.0}')", **expected) is Verdict.PASSED
    assert run("open('out.txt', 'w').write('0.31 1000')", **expected) is Verdict.FAILED


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"../up": ""}, "no name of a file"),
        ({"/etc/passwd": ""}, "no name of a file"),
        ({"a/./b": ""}, "no name of a file"),
        ({"a\n": ""}, "no name of a file"),
        ({"x" * 201: ""}, "no name of a file"),
        ({"": ""}, "no name of a file"),
        ({"solution.py": ""}, "the program's own file"),
        ({"a": "", "a/b": ""}, "a file and a folder"),
        ({"big": "x" * (4 << 20) + "x"}, "bytes of files"),
        ({f"f{number}": "" for number in range(65)}, "65 files"),
    ],
)
@pytest.mark.parametrize("field", ["files", "expected_files"])
def test_names_and_sizes_are_bounded(field: str, files: dict[str, str], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        TestCase.model_validate({"kind": "stdin", field: files})
