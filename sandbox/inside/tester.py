"""The process of the tests: assert scripts, ``check(candidate)`` and unittest, for a solution in another process.

Only this process reports what the tests found. It trusts the tests, and nothing that the solution answers. The
same code runs tests inside the solution's process where they need its very objects; then every report may be
forged.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from types import CodeType
from typing import Any, Protocol

from sandbox.inside import luck, protocol, reports
from sandbox.inside.between import uses_arrays
from sandbox.inside.claims import Claim
from sandbox.inside.no_new_code import refuse_new_code
from sandbox.inside.places import unexpected
from sandbox.inside.remote import Account, Remote, SolutionGone
from sandbox.inside.values import ValueRefusedError

Method = Callable[..., object]


@dataclass(frozen=True)
class Tests:
    """``setup`` runs first; each of ``exports`` is a name of the solution that tests may use.

    ``changes``: for each script the changes of arguments that are expected, None where nothing is known of them.
    ``arrays``, ``draws``: whether they may import numpy, and draw random numbers.
    """

    setup: CodeType | str
    exports: list[str]
    scripts: list[CodeType | str]
    changes: list[frozenset[str] | None]
    arrays: bool
    draws: bool


class Solution(Protocol):
    """What runs the scripts' calls of the solution, and keeps account of them."""

    answering: int
    denied: AssertionError | None

    def take_arrays(self, *, take: bool) -> None: ...

    def name(self, name: str) -> object: ...

    def start(self, expected: frozenset[str] | None, *, shown: bool = True) -> None: ...

    def undo(self) -> None: ...

    def account(self) -> Account: ...


def beside(remote: Remote, out_bytes: int) -> Runner:
    """Prepare to run scripts beside a solution."""
    ours = {"next": _noting_ends(remote), protocol.NOTE: _noting_raises(remote)}
    return Runner(remote, {"__name__": "tests", **ours}, out_bytes)


def rehearse(tests: Tests, remote: Remote, out_bytes: int) -> None:
    """Run every script and report nothing."""
    runner = beside(remote, out_bytes)
    taken = runner.load(tests)
    for script, changes in zip(tests.scripts, tests.changes, strict=True):
        runner.result(script, changes, taken)


def hear_of_lost(remote: Remote) -> None:
    """Take note, from now on, of exceptions that end a thread or a finalizer."""
    threading.excepthook = lambda lost: remote.unheard(lost.exc_value)
    sys.unraisablehook = lambda lost: remote.unheard(lost.exc_value)


def run_beside(runner: Runner, tests: Tests) -> None:
    """Run every script and report on it; exit without a report on the current one when the solution is gone."""
    try:
        taken = runner.load(tests)
        refuse_new_code()
        runner.run(tests, taken)
    except SolutionGone:
        os._exit(protocol.GONE_EXIT)


def run_inside(tests: Tests, namespace: dict[str, Any], out_bytes: int) -> None:
    """Run the scripts in the solution's own namespace: whatever this reports may be forged."""
    namespace[protocol.NOTE] = _as_it_is
    runner = Runner(_Inside(namespace), namespace, out_bytes)
    runner.run(tests, runner.load(tests))


def _noting_ends(remote: Remote) -> Callable[..., object]:
    """Return ``next`` for the tests: a loop around one that finds nothing takes that for its own end."""

    def noting(iterator: Iterator[object], *default: object) -> object:
        try:
            return next(iterator, *default)
        except StopIteration:
            remote.found_nothing()
            raise

    return noting


def _noting_raises(remote: Remote) -> Callable[[Method], Method]:
    """Return the decorator of a test's methods whose exceptions end a loop of it, or are what it finds."""

    def noting(method: Method) -> Method:
        @wraps(method)
        def noted(*args: object, **kwargs: object) -> object:
            place = remote.entered(method.__name__)
            try:
                return method(*args, **kwargs)
            except Exception as error:
                remote.raised(place, error)
                raise

        return noted

    return noting


def _as_it_is(method: Method) -> Method:
    return method


class _Inside:
    """A solution in the process of the tests, of which nothing is known but its names."""

    answering = 0
    denied: AssertionError | None = None

    def __init__(self, namespace: dict[str, Any]) -> None:
        self._names = dict(namespace)

    def take_arrays(self, *, take: bool) -> None: ...

    def name(self, name: str) -> object:
        return self._names[name]

    def start(self, expected: frozenset[str] | None, *, shown: bool = True) -> None: ...

    def undo(self) -> None: ...

    def account(self) -> Account:
        return Account(1, frozenset(), frozenset())


class Runner:
    """Runs scripts in a namespace, beside a solution or inside it."""

    def __init__(self, solution: Solution, namespace: dict[str, Any], out_bytes: int) -> None:
        self._solution = solution
        self._namespace = namespace
        self._out_bytes = out_bytes
        self._checks = itertools.count()
        self._arrays = self._may_use_arrays = False  # whether every script can take one, or some may
        namespace[protocol.COUNT] = self._count
        namespace[protocol.FALSE] = self._deny_aside

    def load(self, tests: Tests) -> int:
        """Run the set-up and bind the exports; when that fails, report it and exit.

        Return how many exports are plain values, which tests use without asking.
        """
        self._may_use_arrays = tests.arrays
        self._arrays = tests.arrays and uses_arrays(tests.setup)
        self._solution.take_arrays(take=tests.arrays and (self._arrays or any(map(uses_arrays, tests.scripts))))
        try:
            if tests.setup:
                exec(tests.setup, self._namespace)
            for name in tests.exports:
                self._namespace[name] = self._export(name)
        except SolutionGone:
            raise
        except BaseException as error:  # noqa: BLE001 - also what the solution raised
            reports.report(reports.failure(error))
            os._exit(0)
        self._same_luck = luck.kept(tests.draws)
        return sum(not callable(self._namespace[name]) for name in tests.exports)

    def run(self, tests: Tests, taken: int) -> None:
        """Run and report every script, then exit; ``taken`` plain exports count as calls of the solution."""
        reports.report(protocol.LOADED)
        for script, changes in zip(tests.scripts, tests.changes, strict=True):
            reports.report(self.result(script, changes, taken))
        os._exit(0)

    def _count(self) -> None:
        """Count a check that is reached. The solution may call a test's functions as often as it likes."""
        if not self._solution.answering:
            next(self._checks)

    def _deny_aside(self) -> None:
        """Remember an assertion that does not hold where nobody may ask how it ended: in a thread or a task."""
        if threading.current_thread() is not threading.main_thread() or _in_task():
            self._solution.denied = self._solution.denied or AssertionError("in a thread or a task")

    def _export(self, name: str) -> object:
        try:
            return self._solution.name(name)
        except KeyError:
            raise NameError(f"the solution defines no {name}") from None

    def result(self, script: CodeType | str, changes: frozenset[str] | None, taken: int) -> bytes:
        """Run a script and encode what to report.

        A solution may change an argument that others leave alone, as if it were its own. But then it may neither
        pass by that, nor where the test asks that it does not: the script has to pass whether it sees that or not.
        """
        if self._may_use_arrays:
            self._solution.take_arrays(take=self._arrays or uses_arrays(script))
        self._solution.start(changes, shown=False)
        claim = self._attempt(script, taken)
        if isinstance(claim, Claim) and changes is not None and unexpected(claim.changes, changes):
            self._solution.start(changes)
            seen = self._attempt(script, taken)
            self._solution.undo()
            claim = seen if isinstance(seen, bytes) else _both(claim, seen, changes)
        if isinstance(claim, bytes):
            return claim
        try:
            return protocol.VALUE + claim.encode(self._out_bytes)
        except ValueRefusedError as error:
            return reports.failure(error)

    def _attempt(self, script: CodeType | str, taken: int) -> Claim | bytes:
        """Run a script: return the claim that it passed, or the report of why it did not.

        ``taken``: values of the solution that it has without asking.
        """
        before = next(self._checks)
        self._same_luck()
        try:
            exec(script, self._namespace)
        except SolutionGone:
            raise
        except AssertionError as error:
            return reports.failure(error, protocol.DENIED)
        except BaseException as error:  # noqa: BLE001 - whatever the tests or the solution raised
            return reports.failure(error)
        if self._solution.denied is not None:
            return reports.failure(self._solution.denied, protocol.DENIED)
        account = self._solution.account()
        checks = next(self._checks) - before - 1
        return Claim(True, checks, account.asked + taken, account.uses, account.changes)


def _in_task() -> bool:
    try:
        return "asyncio" in sys.modules and sys.modules["asyncio"].get_running_loop() is not None
    except RuntimeError:
        return False


def _both(unseen: Claim, seen: Claim, expected: frozenset[str]) -> Claim:
    """Join the claims of a script that passed whether or not it saw the changes that were not expected."""
    return Claim(
        passed=True,
        checks=min(unseen.checks, seen.checks),
        calls=min(unseen.calls, seen.calls),
        uses=unseen.uses | seen.uses,
        changes=unseen.changes - unexpected(unseen.changes, expected),
    )
