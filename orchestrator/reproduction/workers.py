"""Processes that do jobs side by side. Each does one after the other, so that importing torch is paid for once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import NamedTuple

from common.errors import RunFailedError
from common.processes import die_with_parent
from evaluation.reproduction.jobs import Job, needs
from evaluation.reproduction.results import ResultFolder

_TICK_SECONDS = 0.2
#: A job that takes longer hangs: the longest takes minutes on a busy core.
_DEADLINE_SECONDS = 3600.0
_LINES_SHOWN = 12


class JobFailedError(RunFailedError):
    """A job that could not be done; the message has the end of its log."""


class Task(NamedTuple):
    """A job with one seed."""

    job: Job
    seed: int

    @property
    def name(self) -> str:
        return f"{self.job.name}, seed {self.seed}"


class Worker:
    """A process that does tasks for this one, and ends with it. What it prints goes into ``log``."""

    def __init__(self, folder: Path, recipe: Path, number: int) -> None:
        self.log = folder / f"worker-{number}.log"
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, folder, recipe, self.log), daemon=True)
        self._process.start()
        theirs.close()
        self.task: Task | None = None
        self._began = 0.0

    def give(self, task: Task) -> None:
        """Have a task done."""
        self.task, self._began = task, time.monotonic()
        self.connection.send(task)

    def collect(self) -> Task:
        """Return the task that is done. Raises JobFailedError where the process has ended in place of it."""
        task = self.task
        assert task is not None
        try:
            self.connection.recv()
        except (EOFError, ConnectionResetError) as error:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LINES_SHOWN:]
            raise JobFailedError(f"{task.name} failed; {self.log} ends with\n" + "\n".join(lines)) from error
        self.task = None
        return task

    def check(self) -> None:
        """Raise JobFailedError where the task takes too long."""
        if self.task is not None and time.monotonic() - self._began > _DEADLINE_SECONDS:
            raise JobFailedError(f"{self.task.name} was not done in {_DEADLINE_SECONDS:.0f} s; see {self.log}")

    def end(self) -> None:
        """End the process at once; a task that it is at begins anew another time."""
        self._process.kill()
        self._process.join()
        self.connection.close()


def do_tasks(
    tasks: Sequence[Task],
    folder: Path,
    recipe: Path,
    workers: int,
    done: Callable[[Task], None],
    check: Callable[[], None] = lambda: None,
) -> None:
    """Do all tasks, those that others need before these; ``done`` is told of each that is.

    ``check`` is called several times a second and may raise to stop. Raises JobFailedError.
    """
    waiting = deque(tasks)
    missing = {(task.job.name, task.seed) for task in tasks}
    with ExitStack() as stack:
        pool = [Worker(folder, recipe, number) for number in range(min(workers, len(tasks)))]
        for worker in pool:
            stack.callback(worker.end)
        while missing:
            for worker in pool:
                if worker.task is None and (task := _next(waiting, missing)) is not None:
                    worker.give(task)
            busy = {worker.connection: worker for worker in pool if worker.task is not None}
            for connection in wait(list(busy), timeout=_TICK_SECONDS):
                assert isinstance(connection, Connection)
                task = busy[connection].collect()
                missing.discard((task.job.name, task.seed))
                done(task)
            for worker in busy.values():
                worker.check()
            check()


def _next(waiting: deque[Task], missing: set[tuple[str, int]]) -> Task | None:
    """Take the first task whose needs are met."""
    for task in waiting:
        needed = needs(task.job)
        if needed is None or (needed.name, task.seed) not in missing:
            waiting.remove(task)
            return task
    return None


def _serve(connection: Connection, folder: Path, recipe: Path, log: Path) -> None:
    """Do the tasks that come, until the other side is gone."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends this process
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(output, 1)
    os.dup2(output, 2)
    from orchestrator.reproduction.perform import perform

    results = ResultFolder(folder)
    while True:
        try:
            task: Task = connection.recv()
        except EOFError:
            return
        perform(task.job, task.seed, results, recipe)
        connection.send(task.name)
