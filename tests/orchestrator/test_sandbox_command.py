from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from orchestrator.commands.main import main
from sandbox.types import CaseRun, Limits, Outcome, Program


def run(*arguments: object, stdin: str | None = None) -> Result:
    command = ["sandbox", "run", *map(str, arguments), "--level", "uid"]
    return CliRunner().invoke(main, command, input=stdin)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return tmp_path / "program.py"


def test_output_goes_to_stdout_and_the_rest_to_stderr(program: Path, tmp_path: Path) -> None:
    program.write_text("print(input() * 2)")
    words = tmp_path / "words.txt"
    words.write_text("né\n")
    result = run(program, "--stdin", words)
    assert result.exit_code == 0, result.output
    assert result.stdout == "néné\n"
    assert "ok" in result.stderr
    assert "jail backend, level" in result.stderr
    assert "s CPU" in result.stderr


def test_a_program_can_come_from_standard_input() -> None:
    result = run("-", stdin="print(6 * 7)\n")
    assert (result.exit_code, result.stdout) == (0, "42\n")


@pytest.mark.parametrize(
    ("source", "options", "outcome", "told"),
    [
        ("print('x'); raise KeyError('a\\x1b[31m')", [], "error", "KeyError"),
        ("while True: pass", ["--cpu-seconds", "0.3"], "timeout", "0.3 s of CPU time"),
        ("bytearray(300 << 20)", ["--memory-mb", "128"], "memory", "MemoryError"),
    ],
)
def test_a_program_that_fails_is_exit_code_1(
    program: Path, source: str, options: list[str], outcome: str, told: str
) -> None:
    program.write_text(source)
    result = run(program, *options)
    assert result.exit_code == 1
    assert outcome in result.stderr
    assert told in result.stderr
    assert "\x1b" not in result.stderr


def test_json_is_one_object(program: Path) -> None:
    program.write_text("import sys; print(1); print(2, file=sys.stderr); sys.exit(7)")
    result = run(program, "--json")
    assert (result.exit_code, result.stderr) == (1, "")
    found = json.loads(result.stdout)
    assert {key: found[key] for key in ("outcome", "exit_code", "stdout", "stderr", "note", "backend")} == {
        "outcome": "error",
        "exit_code": 7,
        "stdout": "1\n",
        "stderr": "2\n",
        "note": "2",
        "backend": "jail",
    }
    assert found["level"] in ("jail", "namespaces", "uid")
    assert found["cpu_s"] <= found["wall_s"] + 1


def test_bad_input_is_one_clear_error(program: Path, tmp_path: Path) -> None:
    program.write_bytes(b"print('\xff')")
    for arguments, told in (
        ([tmp_path / "none.py"], "cannot be read: No such file"),
        ([tmp_path], "cannot be read: Is a directory"),
        ([program], "not UTF-8 text"),
        (["-", "--stdin", tmp_path / "none"], "--stdin"),
    ):
        result = run(*arguments, stdin="")
        assert result.exit_code == 2
        assert result.stderr.startswith("error: ")
        assert told in result.stderr
    assert run(program, "--cpu-seconds", "0").exit_code == 2
    assert run(program, "--backend", "chroot").exit_code == 2


class Broken:
    slots = 1

    def run(self, program: Program, limits: Limits, **_: object) -> list[CaseRun]:
        return [CaseRun(case.id, Outcome.INFRA, note="the runner is gone") for case in program.cases]

    def describe(self) -> dict[str, Any]:
        return {"backend": "jail", "level": "uid"}

    def close(self) -> None: ...


def test_a_sandbox_that_fails_is_exit_code_3(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.commands.sandbox.make_sandbox", lambda config: Broken())
    program.write_text("")
    result = run(program)
    assert result.exit_code == 3
    assert "the runner is gone" in result.stderr


def test_info_is_what_the_sandbox_says_of_itself() -> None:
    result = CliRunner().invoke(main, ["sandbox", "info", "--level", "uid"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["level"] in ("jail", "namespaces", "uid")
