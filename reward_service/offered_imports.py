"""Which imports the sandbox offers: asked of the sandbox itself, where nothing but the import statement runs."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping

from reward_service.user_rewards import UnknownRewardError
from sandbox.inside.values import ValueRefusedError, decode
from sandbox.types import Case, CaseRun, Limits, Outcome, Program, Sandbox

_SOURCE = """
def bound_by(statement):
    names = {}
    exec(statement, names)
    return sorted(names.keys() - {"__builtins__"})
"""
_ATTEMPTS = 2
_REMEMBERED = 4096


class OfferedImports:
    """Answers what import statements bind in programs that ``sandbox`` runs under ``limits``; thread-safe."""

    def __init__(self, sandbox: Sandbox, limits: Limits) -> None:
        self._sandbox = sandbox
        self._limits = limits
        self._known: OrderedDict[str, frozenset[str] | None] = OrderedDict()
        self._lock = threading.Lock()

    def bound_by(self, statements: Iterable[str]) -> Mapping[str, frozenset[str] | None]:
        """Return the names that each statement binds, None for one that fails.

        Raises UnknownRewardError where the sandbox failed twice.
        """
        wanted = list(dict.fromkeys(statements))
        with self._lock:
            found = {statement: self._known[statement] for statement in wanted if statement in self._known}
        asked = [statement for statement in wanted if statement not in found]
        for _ in range(_ATTEMPTS):
            answers = self._ask(asked)
            self._remember(answers)
            found |= {one: _names(run) for one, run in answers.items() if run.outcome is not Outcome.INFRA}
            asked = [statement for statement in asked if statement not in found]
            if not asked:
                return found
        raise UnknownRewardError(f"the sandbox failed on {asked[0]!r}")

    def _ask(self, statements: list[str]) -> dict[str, CaseRun]:
        if not statements:
            return {}
        cases = tuple(Case(str(index), call=f"bound_by({one!r})") for index, one in enumerate(statements))
        return dict(zip(statements, self._sandbox.run(Program(_SOURCE, cases), self._limits), strict=True))

    def _remember(self, answers: Mapping[str, CaseRun]) -> None:
        """Keep what is a fact about the sandbox; running out of time may be the machine's load."""
        with self._lock:
            for statement, run in answers.items():
                if run.outcome not in (Outcome.INFRA, Outcome.TIMEOUT):
                    self._known[statement] = _names(run)
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)


def _names(run: CaseRun) -> frozenset[str] | None:
    if run.outcome is not Outcome.OK or run.value is None:
        return None
    try:
        value = decode(run.value)
    except ValueRefusedError:
        return None
    return frozenset(map(str, value)) if isinstance(value, list) else None
