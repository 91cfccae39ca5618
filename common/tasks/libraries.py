"""The libraries that a task needs installed where it runs."""

from __future__ import annotations

import importlib.machinery
import sys
from pathlib import Path

from common.records import Task
from common.tasks.source import NotPythonError, as_program, import_statements, needed_imports, parse


def third_party(task: Task) -> tuple[str, ...]:
    """List the top-level names of modules outside the standard library that the task cannot do without; sorted.

    Names as in an import statement, which may differ from those that pip takes. A source that does not parse
    counts for nothing, and neither does another language.
    """
    if task.language != "python":
        return ()
    # A prefix by itself may end within a name, as that of a gap does, so it counts only where there is no whole.
    whole = _imported(task.prefix + (task.reference or "") + task.suffix)
    found = set(_imported(as_program(task.prefix)) or () if whole is None else whole)
    for source in (task.test_setup, *(test.script for test in task.tests)):
        found |= _imported(source) or set()
    return tuple(sorted(found - sys.stdlib_module_names - {"", "__future__"}))


def _imported(source: str) -> set[str] | None:
    """List the top-level modules that a program cannot do without; None where it does not parse."""
    try:
        tree = parse(source)
    except NotPythonError:
        return None
    return {module.split(".")[0] for module, _, _ in import_statements(needed_imports(tree))}


def missing(task: Task, packages: Path | None) -> tuple[str, ...]:
    """List what :func:`third_party` does and a site-packages folder does not have; without a folder all of it."""
    return tuple(name for name in third_party(task) if not _has(packages, name))


def _has(packages: Path | None, name: str) -> bool:
    return packages is not None and importlib.machinery.PathFinder.find_spec(name, [str(packages)]) is not None
