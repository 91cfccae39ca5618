"""Which bare names a test line can have got from an import that nobody wrote down, and from which."""

from __future__ import annotations

import builtins
import importlib
import sys
from functools import cache

BUILTINS = frozenset(dir(builtins))

_ALIASES = {
    "np": "import numpy as np",
    "pd": "import pandas as pd",
    "plt": "import matplotlib.pyplot as plt",
    "sns": "import seaborn as sns",
    "nx": "import networkx as nx",
    "tf": "import tensorflow as tf",
    "sp": "import sympy as sp",
    "dt": "import datetime as dt",
    **{name: f"import {name}" for name in ("numpy", "pandas", "scipy", "sympy", "torch", "networkx", "pytest")},
}
# Modules whose public names are written without the module's name in front, and mean just one thing.
_MODULES = (
    "collections",
    "math",
    "itertools",
    "functools",
    "fractions",
    "decimal",
    "datetime",
    "statistics",
    "heapq",
    "bisect",
    "copy",
    "string",
)
# Modules that share their name with what is mostly wanted of them.
_NAMESAKES = frozenset({"array", "bisect", "copy", "datetime", "glob", "pprint", "random", "time"})


def import_of(name: str, called: bool) -> str | None:
    """Return the import that would bind the name, or None. ``called``: whether the name itself is called."""
    if name in _ALIASES:
        return None if called else _ALIASES[name]
    if name in sys.stdlib_module_names and not name.startswith("_"):
        if not called:
            return f"import {name}"
        return f"from {name} import {name}" if name in _NAMESAKES else None
    module = _public_names().get(name)
    return None if module is None else f"from {module} import {name}"


@cache
def _public_names() -> dict[str, str]:
    names: dict[str, str] = {}
    for module in _MODULES:
        loaded = importlib.import_module(module)
        for name in getattr(loaded, "__all__", dir(loaded)):
            if not name.startswith("_") and name not in BUILTINS and name not in sys.stdlib_module_names:
                names.setdefault(name, module)
    return names
