"""In-process evaluation of program text that this package wrote itself.

Nothing a model wrote may come here: it belongs in the sandbox.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

_ERRORS = (ArithmeticError, AttributeError, LookupError, NameError, TypeError, ValueError)


def load_function(program: str) -> Callable[..., object]:
    """Define ``f`` by running ``program``. Raises SyntaxError where it does not compile."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        code = compile(program, "<synthetic task>", "exec")
    namespace: dict[str, Any] = {}
    exec(code, namespace)
    function: Callable[..., object] = namespace["f"]
    return function


def outcome(function: Callable[..., object], arguments: tuple[object, ...]) -> str:
    """The repr of the result, or the name of the error it raised, which no repr of a result equals."""
    try:
        return repr(function(*arguments))
    except _ERRORS as error:
        return f"raised {type(error).__name__}"
