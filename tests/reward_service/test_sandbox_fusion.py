"""``/run_code`` as SandboxFusion's clients read it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest

from reward_service.http.sandbox_fusion import RunCode, answer_of, limits_of
from sandbox.types import CaseRun, Limits, Outcome
from tests.sandbox import node
from tests.service_process import ServiceUnderTest


def run_code(running: ServiceUnderTest, code: str, **fields: Any) -> dict[str, Any]:
    """Ask as verl's client does."""
    asked = {"compile_timeout": 10, "run_timeout": 10, "language": "python", "files": {}, "fetch_files": []}
    answer = running.client.post("/run_code", json={**asked, "code": code, "stdin": "", **fields})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert set(found) == {"status", "message", "compile_result", "run_result", "executor_pod_name", "files"}
    assert (found["compile_result"], found["executor_pod_name"], found["files"]) == (None, None, {})
    return found


def test_a_program_that_ends_well(running: ServiceUnderTest) -> None:
    code = "import sys\nprint(input()[::-1])\nprint('aside', file=sys.stderr)\n"
    found = run_code(running, code, stdin="abc\n")
    result = found["run_result"]
    assert found["status"] == "Success"
    assert (result["status"], result["return_code"]) == ("Finished", 0)
    assert (result["stdout"], result["stderr"]) == ("cba\n", "aside\n")
    assert 0 <= result["execution_time"] < 10


@pytest.mark.parametrize(
    ("code", "return_code", "stdout", "told"),
    [
        ("print('before'); 1 / 0", 1, "before\n", "ZeroDivisionError: division by zero"),
        ("import sys; print('x'); sys.exit(3)", 3, "x\n", "exit code 3"),
        ("def f(:", 1, "", "SyntaxError"),
        ("input()", 1, "", "EOFError"),
    ],
)
def test_a_program_that_fails(
    running: ServiceUnderTest, code: str, return_code: int, stdout: str, told: str
) -> None:
    found = run_code(running, code)
    result = found["run_result"]
    assert (found["status"], result["status"]) == ("Failed", "Finished")
    assert (result["return_code"], result["stdout"]) == (return_code, stdout)
    assert told in found["message"]
    assert ("Traceback" in result["stderr"]) is (told.endswith(("zero", "EOFError")))


def test_a_program_that_takes_too_long(running: ServiceUnderTest) -> None:
    found = run_code(running, "print('before', flush=True)\nwhile True: pass", run_timeout=0.3)
    assert (found["status"], found["run_result"]["status"]) == ("Failed", "TimeLimitExceeded")
    assert found["message"].startswith("more than")
    assert found["run_result"]["stdout"] == "before\n"


def test_a_program_that_takes_too_much_memory(running: ServiceUnderTest) -> None:
    code = "x = bytearray(300 << 20)\nprint(len(x))\n"
    assert run_code(running, code)["status"] == "Success"
    assert run_code(running, code, memory_limit_MB=-1)["status"] == "Success"
    found = run_code(running, code, memory_limit_MB=128)
    assert (found["status"], found["run_result"]["status"]) == ("Failed", "Error")
    assert "MemoryError" in found["run_result"]["stderr"]


def test_a_program_that_a_signal_ends_or_that_prints_too_much(running: ServiceUnderTest) -> None:
    for code in ("import ctypes; ctypes.string_at(0)", "while True: print('x' * 1000)"):
        found = run_code(running, code)
        assert (found["status"], found["run_result"]["status"]) == ("Failed", "Error")


def test_javascript(running: ServiceUnderTest) -> None:
    node.require()
    found = run_code(
        running, "console.log(require('fs').readFileSync(0, 'utf8') * 2)", language="nodejs", stdin="21"
    )
    assert (found["status"], found["run_result"]["stdout"]) == ("Success", "42\n")


def test_the_service_environment_is_not_the_programs(running: ServiceUnderTest) -> None:
    found = run_code(running, "import os; print(sorted(os.environ), os.path.exists('/etc/passwd'))")
    assert "PYTEST_CURRENT_TEST" not in found["run_result"]["stdout"]
    assert "False" in found["run_result"]["stdout"]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"language": "cpp"}, "language: 'cpp' is not supported here; these are: python"),
        ({"files": {"a.txt": "aGk="}}, "files: not supported"),
        ({"fetch_files": ["out.txt"]}, "fetch_files: not supported"),
    ],
)
def test_what_is_not_offered_is_an_error_in_their_shape(
    running: ServiceUnderTest, fields: dict[str, Any], told: str
) -> None:
    found = run_code(running, "print(1)", **fields)
    assert (found["status"], found["run_result"]) == ("SandboxError", None)
    assert told in found["message"]


def test_a_run_has_a_time_limit(running: ServiceUnderTest) -> None:
    answer = running.client.post("/run_code", json={"code": "", "language": "python", "run_timeout": 1e6})
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, "run_timeout")


def test_a_full_queue_is_the_status_after_which_verls_client_tries_again(running: ServiceUnderTest) -> None:
    task = {"id": "t", "prompt": "", "tests": [{"call": "f()", "expected": "1"}]}
    numbers = iter(range(1000))

    def fill(clients: ExitStack, programs: int) -> None:
        completions = [f"import time\ntime.sleep(1)\nx = {next(numbers)}\n" for _ in range(programs)]
        batch = {"groups": [{"id": "a", "task": task, "completions": completions}]}
        clients.enter_context(running.client.stream("POST", "/v1/score", json=batch))

    with ExitStack() as clients:
        fill(clients, 40)
        running.wait_until(lambda: running.metric("couplet_reward_http_queue_depth") == 38)  # two run
        fill(clients, 2)
        refused = running.client.post("/run_code", json={"code": "print(1)", "language": "python"})
        assert refused.status_code == 504
        assert refused.json()["error"]["type"] == "queue_full"
        assert int(refused.headers["retry-after"]) >= 1


@pytest.mark.parametrize("outcome", [Outcome.INFRA, Outcome.SKIPPED])
def test_our_failures_say_nothing_of_the_program(outcome: Outcome) -> None:
    answer = answer_of(CaseRun("run", outcome, stdout=b"half", note="the runner is gone"))
    assert (answer.status, answer.message, answer.run_result) == ("SandboxError", "the runner is gone", None)


def test_limits_come_from_the_request_and_the_service() -> None:
    defaults = Limits(memory_mb=700, files=3)
    asked = RunCode(code="", language="python", run_timeout=3)
    assert limits_of(asked, defaults) == Limits(cpu_s=3, wall_s=5, memory_mb=700, files=3)
    assert limits_of(asked.model_copy(update={"memory_limit_MB": 64}), defaults).memory_mb == 64


def test_output_that_is_no_text_is_still_json() -> None:
    answer = answer_of(CaseRun("run", Outcome.OK, stdout=b"\xff\x00", stderr=b"\xfe", exit_code=0))
    assert answer.run_result is not None
    assert (answer.run_result.stdout, answer.run_result.stderr) == ("\ufffd\0", "\ufffd")
