"""Keeps tests from running code that the solution wrote: what ``eval`` is given may be its answer.

The process of the tests decides verdicts. A test that evaluates, compiles or unpickles an answer would hand that
process over, and with it every later test. Where a test needs that, it runs in the solution's own process, which
marks the score as forgeable.
"""

from __future__ import annotations

import sys
from types import FrameType

_MAKE_CODE = frozenset({"compile", "exec", "marshal.loads", "marshal.load", "code.__new__", "function.__new__"})
_RUN_PICKLES = frozenset({"pickle.find_class"})
# Makes code of names that it has checked, or only parses.
_CAREFUL = frozenset({"collections", "dataclasses", "ast", "sandbox.inside.tester"})
_IMPORT = "importlib._bootstrap"


class NewCodeError(BaseException):
    """A test runs code that is not its own; no test may catch this by catching Exception."""


def refuse_new_code() -> None:
    """Refuse, from now on, all code that is made at run time. Imports are not touched."""
    sys.addaudithook(_refuse)


def _refuse(event: str, _: object) -> None:
    if event in _MAKE_CODE:
        caller = sys._getframe(1)
        if caller.f_globals.get("__name__") in _CAREFUL or _imports(caller):
            return
    elif event not in _RUN_PICKLES:
        return
    raise NewCodeError(f"the test makes code at run time ({event}), which only the solution's own process may run")


def _imports(frame: FrameType | None) -> bool:
    """Tell whether a frame belongs to an import, by name: the code of modules is nobody's answer."""
    while frame is not None:
        if str(frame.f_globals.get("__name__")).startswith(_IMPORT):
            return True
        frame = frame.f_back
    return False
