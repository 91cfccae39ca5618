"""What decides the scores of a run: its reward settings, and the code of the user's reward functions."""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import PathFinder
from importlib.metadata import packages_distributions
from pathlib import Path

from common.config import RewardConfig
from common.config.reward import BUILT_IN_REWARDS
from common.plugins import PluginError, plugin_path
from common.streams import Terms

#: Fields that say where and how many programs run, and change no score. A preset has filled the others.
_NO_SCORE = {
    "preset",
    "workers",
    "ray_resource",
    "functions",
    "sandbox_slots",
    "sandbox_level",
    "docker_runtime",
    "preload",
    "hacking_probe",
}
_NO_VALUE = {"processes", "memory_mb"}
#: Packages of ours that a reward function may import, from wherever they are installed.
_OURS = ("common", "reward_service", "sandbox")
_DIGITS = 12


def reward_terms(config: RewardConfig) -> Terms:
    """Return the terms, with the digests of those files that are on this machine; nothing is imported for it."""
    settings = {
        f"reward.{name}": json.dumps(value)
        for name, value in config.model_dump(mode="json", exclude=_NO_SCORE).items()
    }
    code: dict[str, str] = {}
    for index, function in enumerate(config.functions):
        for name, value in function.model_dump(mode="json", exclude=_NO_VALUE).items():
            settings[f"reward.functions.{index}.{name}"] = json.dumps(value)
        if function.path not in BUILT_IN_REWARDS:
            code |= _digests(function.path)
    return Terms(settings, code)


def _digests(path: str) -> dict[str, str]:
    """Return the digests of a function's module and of what it imports from beside it; none where it is not here.

    What a package installed there offers, and is not the function's own, is left out: versions are pip's to keep.
    """
    try:
        module = plugin_path("reward", path).partition(":")[0]
    except PluginError:
        return {}
    top = module.partition(".")[0]
    folder = next((place for place in map(Path, sys.path) if _file_of((top,), place)), None)
    if folder is None:
        return {}
    others = {*packages_distributions(), *_OURS} - {top}
    found: dict[str, str] = {}
    waiting = [tuple(module.split("."))]
    while waiting:
        parts = waiting.pop()
        for name in (parts[:length] for length in range(1, len(parts) + 1)):  # packages are imported before
            file = None if name[0] in others else _file_of(name, folder)
            label = f"code of {'.'.join(name)}"
            if file is not None and label not in found:
                source = file.read_bytes()
                found[label] = hashlib.sha256(source).hexdigest()[:_DIGITS]
                waiting += _imports(source, name if file.name == "__init__.py" else name[:-1])
    return found


def _file_of(module: Sequence[str], folder: Path) -> Path | None:
    """Return the file of a module, ``package, module``, in a folder of Python's path; None where it has none."""
    places = [str(folder)]
    file = None
    for end in range(1, len(module) + 1):
        spec = PathFinder.find_spec(".".join(module[:end]), places)
        if spec is None:
            return None
        file, places = spec.origin if spec.has_location else None, list(spec.submodule_search_locations or ())
    return Path(file) if file is not None else None


def _imports(source: bytes, package: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield the modules that a source imports, and what it takes from them, which may be modules too."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # a compiled module, or one whose import will say what is wrong
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = tuple(package[: len(package) - node.level + 1]) if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            yield from ((*base, alias.name) for alias in node.names)
