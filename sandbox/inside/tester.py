"""The process of the tests: assert scripts, ``check(candidate)`` and unittest, for a solution in another process.

Only this process reports what the tests found. It trusts the tests, and nothing that the solution answers. The
same code runs tests inside the solution's process where they need its very objects; then every report may be
forged.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType
from typing import Any

from sandbox.inside import protocol, reports, values
from sandbox.inside.remote import Remote, SolutionGone

_CLAIM_BYTES = 200


@dataclass(frozen=True)
class Tests:
    """``setup`` runs first; each of ``exports`` is a name of the solution that tests may use."""

    setup: CodeType | str
    exports: list[str]
    scripts: list[CodeType | str]


def run_beside(tests: Tests, remote: Remote) -> None:
    """Run every script and report on it; exit without a report on the current one when the solution is gone."""
    try:
        _run(tests, {"__name__": "tests"}, remote.name, remote.calls, remote.handles)
    except SolutionGone:
        os._exit(protocol.GONE_EXIT)


def run_inside(tests: Tests, namespace: dict[str, Any]) -> None:
    """Run the scripts in the solution's own namespace: whatever this reports may be forged."""
    solution = dict(namespace)
    _run(tests, namespace, solution.__getitem__, itertools.count().__next__, lambda: 0)


def _run(
    tests: Tests,
    namespace: dict[str, Any],
    export: Callable[[str], object],
    calls: Callable[[], int],
    handles: Callable[[], int],
) -> None:
    """Run the scripts. ``calls`` and ``handles`` count the calls of the solution and its objects so far."""
    checks = itertools.count()
    namespace[protocol.COUNT] = lambda: next(checks) and None
    try:
        exec(tests.setup, namespace)
        taken = _bind(tests.exports, namespace, export)
    except SolutionGone:
        raise
    except BaseException as error:  # noqa: BLE001 - also what the solution raised
        reports.report(reports.failure(error))
        os._exit(0)
    reports.report(protocol.LOADED)
    for script in tests.scripts:
        checks_before, calls_before, handles_before = next(checks), calls(), handles()
        result = _outcome(script, namespace)
        claim = (
            True,
            next(checks) - checks_before - 1,
            calls() - calls_before + taken,
            handles() - handles_before,
        )
        reports.report(result or protocol.VALUE + values.encode(claim, _CLAIM_BYTES))
    os._exit(0)


def _bind(exports: list[str], namespace: dict[str, Any], export: Callable[[str], object]) -> int:
    """Bind the exports in the namespace; return how many are plain values, which tests use without a call."""
    for name in exports:
        try:
            namespace[name] = export(name)
        except KeyError:
            raise NameError(f"the solution defines no {name}") from None
    return sum(not callable(namespace[name]) for name in exports)


def _outcome(script: CodeType | str, namespace: dict[str, Any]) -> bytes | None:
    """Run a script; return the report of why it did not pass, or None when it passed."""
    try:
        exec(script, namespace)
    except SolutionGone:
        raise
    except AssertionError as error:
        return reports.failure(error, protocol.DENIED)
    except BaseException as error:  # noqa: BLE001 - whatever the tests or the solution raised
        return reports.failure(error)
    return None
