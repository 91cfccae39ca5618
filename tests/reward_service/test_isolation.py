"""Reward functions in processes of their own: what goes wrong costs one call, and is named."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from common.config import ConfigError, RewardFunctionConfig
from common.processes import die_with_parent
from common.records import Task, TestCase, Verdict
from reward_service.isolation.reward import start_reward_functions
from reward_service.user_rewards import Completion, Failure, Reward, RewardFunctionError, UnknownRewardError
from tests.reward_service import composed_rewards, hostile_rewards

PATIENCE_S = 30.0
TASK = Task(id="t", prompt="", tests=(TestCase(call="f()", expected="0"),), metadata={"level": 3})
Start = Callable[..., Reward]


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def start(tmp_path: Path, notes: list[str]) -> Iterator[Start]:
    """Start a function of a module by its name, with settings of the recipe."""
    started: list[Reward] = []

    def make(name: str, module: str = hostile_rewards.__name__, **settings: Any) -> Reward:
        setting = RewardFunctionConfig.model_validate({"path": f"{module}:{name}", **settings})
        started.extend(start_reward_functions([setting], {}, tmp_path / "functions", notes.append))
        return started[-1]

    yield make
    for reward in started:
        reward.close()


def ask(reward: Reward, *texts: str) -> list[Any]:
    return reward.values(TASK, [Completion(text, None, (Verdict.PASSED,), form=1.0) for text in texts])


def failure(reward: Reward, *texts: str) -> RewardFunctionError:
    with pytest.raises(RewardFunctionError) as error:
        ask(reward, *texts)
    return error.value


def hosts(of: int | None = None) -> list[psutil.Process]:
    """The processes of reward functions that a process, by default this one, has started."""
    children = psutil.Process(of).children()
    return [one for one in children if "reward_service.isolation.host" in " ".join(one.cmdline())]


def test_whatever_goes_wrong_costs_one_call_and_is_named(start: Start, notes: list[str], tmp_path: Path) -> None:
    reward = start("obedient", timeout_seconds=0.5)
    log = tmp_path / "functions" / "obedient.log"
    assert ask(reward, "a", "b", "alarm") == [1.0, 2.0, 3.0]
    assert ask(reward, *hostile_rewards.NUMBERS) == [0.5, 1.0, 1.0, 2.0]

    raised = failure(reward, "a", "raise", "b")
    assert (raised.failure, raised.reason) == (
        Failure.RAISED,
        "reward.functions: obedient raised KeyError: 'judge'; the traceback is in functions/obedient.log",
    )
    assert str(raised) == f"{raised.reason}, on task 't'"
    assert ask(reward, "a") == [10.0]  # the state has survived

    late = failure(reward, "a", "sleep", "b")
    assert (late.failure, late.problem) == (
        Failure.LATE,
        "did not answer within 0.5 s (reward.functions: timeout_seconds); its stack is in functions/obedient.log",
    )
    assert ask(reward, "a") == [1.0]  # a new process

    for text, how in (("crash", "SIGSEGV"), ("fork and exit", "exit code 4")):
        died = failure(reward, text)
        assert (died.failure, died.problem) == (
            Failure.DIED,
            f"ended its process ({how}); what it wrote is in functions/obedient.log",
        )
        assert f"({how})" in notes[-1]
    assert ask(reward, "print", "a") == [1.0, 2.0]
    written = log.read_text()
    for part in ("KeyError: 'judge'", "in obedient", "Segmentation fault", "said by a child"):
        assert part in written
    assert len(hosts()) == 1


def test_each_call_of_a_group_has_the_time_and_not_the_group(start: Start) -> None:
    reward = start("process_id", timeout_seconds=0.5)
    assert len(set(ask(reward, *"abcdefgh"))) == 1  # longer, together, than one call may take


def test_a_process_that_others_stop_or_kill_loses_no_call(start: Start, notes: list[str]) -> None:
    reward = start("process_id", timeout_seconds=0.3)
    (first,) = ask(reward, "a")
    os.kill(int(first), signal.SIGKILL)
    (second,) = ask(reward, "a")
    os.kill(int(second), signal.SIGSTOP)
    (third,) = ask(reward, "a")
    assert len({first, second, third}) == 3
    assert ["SIGKILL" in notes[0], "stopped" in notes[1], len(notes)] == [True, True, 2]
    assert not psutil.pid_exists(int(second))


def test_a_process_that_holds_too_much_memory_is_replaced_between_calls(start: Start, notes: list[str]) -> None:
    reward = start("obedient", memory_mb=200)
    seen = [value for _ in range(4) for value in ask(reward, "leak")]
    assert seen[0] == 1.0
    assert 1.0 in seen[1:]
    assert "200 MiB (reward.functions: memory_mb)" in notes[0]


def test_functions_of_groups_run_beside_each_other_in_as_many_processes_as_are_asked_for(start: Start) -> None:
    reward = start("all_processes", scope="group", processes=2)
    answers: list[float] = []
    threads = [threading.Thread(target=lambda: answers.extend(ask(reward, "a", "b"))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert (len(answers), len(set(answers))) == (12, 2)


def test_async_functions_and_unknown_rewards_reach_the_caller(start: Start) -> None:
    assert ask(start("asked_rank", composed_rewards.__name__, scope="group"), "a", "bb") == [0.0, 0.5]
    held = start("holds_the_loop", timeout_seconds=0.3)
    assert failure(held, "hold").failure is Failure.LATE
    assert ask(held, "a") == [1.0]
    known, unknown = ask(start("unknown_of_a", composed_rewards.__name__), "b", "a")
    assert (known, type(unknown), str(unknown)) == (1.0, UnknownRewardError, "the judge is down")


def test_a_module_that_ends_its_process_is_named_at_the_start(start: Start) -> None:
    with pytest.raises(ConfigError, match=r"functions\.0\.path: .*:f ended its process \(exit code 7\) while"):
        start("f", "tests.reward_service.hostile_import")
    with pytest.raises(ConfigError, match=r"reward\.functions\.0\.path: .* has no 'absent'"):
        start("absent")
    assert hosts() == []


def test_a_folder_that_cannot_be_written_costs_the_output_alone(
    tmp_path: Path, notes: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("no folder")
    setting = RewardFunctionConfig(path=f"{hostile_rewards.__name__}:obedient")
    (reward,) = start_reward_functions([setting], {}, tmp_path / "file" / "functions", notes.append)
    with closing(reward):
        assert ask(reward, "print") == [1.0]
    assert "said by a child" in capfd.readouterr().err
    assert "goes to standard error" in notes[0]


def test_closing_ends_a_call_that_hangs(start: Start) -> None:
    reward = start("obedient")
    failed: list[RewardFunctionError] = []
    thread = threading.Thread(target=lambda: failed.append(failure(reward, "sleep")))
    thread.start()
    time.sleep(0.2)
    reward.close()
    thread.join(PATIENCE_S)
    assert [one.failure for one in failed] == [Failure.DIED]
    assert hosts() == []


def test_no_process_outlives_the_one_that_asks() -> None:
    script = (
        "import sys, time\n"
        "from common.config import RewardFunctionConfig\n"
        "from reward_service.isolation.reward import start_reward_functions\n"
        f"start_reward_functions([RewardFunctionConfig(path='{hostile_rewards.__name__}:obedient')], {{}})\n"
        "print('started', flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        preexec_fn=die_with_parent,
    )
    assert parent.stdout is not None
    with parent.stdout:
        assert parent.stdout.readline() == b"started\n"
    (host,) = hosts(parent.pid)
    parent.kill()
    parent.wait(PATIENCE_S)
    host.wait(PATIENCE_S)
