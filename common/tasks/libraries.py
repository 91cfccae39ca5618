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
    sources = [
        as_program(task.prefix),
        task.prefix + (task.reference or "") + task.suffix,
        task.test_setup,
        *(test.script for test in task.tests),
    ]
    found = set()
    for source in sources:
        try:
            tree = parse(source)
        except NotPythonError:
            continue
        found |= {module.split(".")[0] for module, _, _ in import_statements(needed_imports(tree))}
    return tuple(sorted(found - sys.stdlib_module_names - {"", "__future__"}))


def missing(task: Task, packages: Path | None) -> tuple[str, ...]:
    """List what :func:`third_party` does and a site-packages folder does not have; without a folder all of it."""
    return tuple(name for name in third_party(task) if not _has(packages, name))


def _has(packages: Path | None, name: str) -> bool:
    return packages is not None and importlib.machinery.PathFinder.find_spec(name, [str(packages)]) is not None
