"""Whole runs as a user starts them: the `couplet` command in a process of its own, small enough for two cores."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import pytest

from common.processes import die_with_parent

REPOSITORY = Path(__file__).parents[2]
SMALL = (
    "data.train_tasks=60",
    "data.held_out_tasks=8",
    "rollout.workers=1",
    "learner.ranks=1",
    "rollout.group_size=4",
    "rollout.denoising_steps=7",
    "rollout.batch_tokens=850",
    "learner.groups_per_step=2",
    "learner.checkpoint_steps=2",
    "admission.max_in_flight=4",
    "streams.claim_seconds=5",
)
DEADLINE = 180.0
_CLEAN_SECONDS = 30.0
_AGENTS = ("DashboardAgent", "RuntimeEnvAgent")


class Run:
    """A run in a process of its own. Everything it starts carries ``mark`` in its environment."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        recipe: str | Path = "quickstart",
        small: bool = True,
        command: str = "train",
    ) -> None:
        self.folder = folder
        self.mark = uuid.uuid4().hex
        self._log = folder.with_suffix(f".{self.mark[:6]}.log")
        file = recipe if isinstance(recipe, Path) else f"recipes/{recipe}.yaml"
        line = [sys.executable, "-m", "orchestrator.commands.main", command, str(file)]
        line += [f"run.folder={folder}", "ray.dashboard=false", *(SMALL if small else ())]
        line += [*arguments, "--plain", "--json"]
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                line,
                cwd=REPOSITORY,
                stdout=log,
                stderr=log,
                env={**os.environ, "COUPLET_TEST_MARK": self.mark},
                start_new_session=True,
                preexec_fn=die_with_parent,
            )

    @property
    def output(self) -> str:
        return self._log.read_text()

    def wait(self, deadline: float = DEADLINE) -> int:
        """The exit code."""
        try:
            code = self.process.wait(deadline)
            assert "*** SIGTERM received" not in self.output, (
                "Ray's handler took the signal, and would abort the run"
            )
            return code
        except subprocess.TimeoutExpired:
            pytest.fail(f"the run did not end within {deadline:.0f} s:\n{self.output[-4000:]}")

    def finish(self, deadline: float = DEADLINE) -> dict[str, Any]:
        """Wait for success and return the summary that --json printed last."""
        assert self.wait(deadline) == 0, self.output[-4000:]
        summary: dict[str, Any] = json.loads(self.output.splitlines()[-1])
        return summary

    def metrics(self) -> list[dict[str, Any]]:
        file = self.folder / "metrics.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def wait_for(self, condition: Callable[[], bool], what: str, deadline: float = DEADLINE) -> None:
        end = time.monotonic() + deadline
        while not condition():
            assert self.process.poll() is None, f"the run ended before {what}:\n{self.output[-4000:]}"
            assert time.monotonic() < end, f"no {what} within {deadline:.0f} s:\n{self.output[-4000:]}"
            time.sleep(0.05)

    def wait_for_step(self, step: int) -> None:
        self.wait_for(lambda: len(self.metrics()) >= step, f"step {step}")

    def actors(self, title: str) -> list[psutil.Process]:
        """The processes of one kind of actor of a run that goes on, by the title Ray gives them."""
        try:
            family = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return [process for process in family if _is_actor(process, title)]

    def marked(self) -> list[psutil.Process]:
        """All live processes of the run, by a look at every process of the machine."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("COUPLET_TEST_MARK") == self.mark:
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
        return found

    def assert_nothing_left(self, agents: bool = True) -> None:
        """Without ``agents``, those of Ray may live: they try for a minute to report a Ray that was killed."""
        end = time.monotonic() + _CLEAN_SECONDS
        while left := self.marked():
            if not agents and all(any(_is_actor(process, title) for title in _AGENTS) for process in left):
                return
            assert time.monotonic() < end, f"left behind: {left}"
            time.sleep(0.2)

    def kill(self) -> None:
        """End what is left of it."""
        for process in self.marked():
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue


def _is_actor(process: psutil.Process, title: str) -> bool:
    try:
        return " ".join(process.cmdline()).startswith(f"ray::{title}")
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False


@pytest.fixture
def start_run(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Starts runs, in ``tmp_path/run`` unless told otherwise; ends what is left of them."""
    runs: list[Run] = []

    def start(*arguments: str, recipe: str = "quickstart", small: bool = True) -> Run:
        runs.append(Run(tmp_path / "run", *arguments, recipe=recipe, small=small))
        return runs[-1]

    yield start
    for run in runs:
        run.kill()


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """Runs that nothing disturbs, each once in a module, to compare others with."""

    @cache
    def finish(*arguments: str) -> Run:
        run = Run(tmp_path_factory.mktemp("finished") / "run", *arguments)
        try:
            run.finish(300.0)
            run.assert_nothing_left()
        finally:
            run.kill()
        return run

    return finish
