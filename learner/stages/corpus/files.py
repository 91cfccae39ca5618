"""The files of a source: a file, a folder, a data set on the Hub, or the standard library."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from common.config import CorpusSource
from learner.stages.corpus.errors import CorpusError
from learner.stages.corpus.hub import HUB, dataset_folder

STANDARD_LIBRARY = "builtin:stdlib"
#: Files of rows, and files each of which is a document.
ROW_SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")
TEXT_SUFFIXES = (".py", ".txt")

#: Folders of no source text. The standard library's tests are left out as well: many installations come without
#: them, and some are broken on purpose, neither UTF-8 nor Python (test/test_source_encoding.py, lib2to3/tests).
_NO_SOURCES = frozenset({"__pycache__"})
_NOT_THE_LIBRARY = _NO_SOURCES | {"site-packages", "dist-packages", "test", "tests", "idle_test"}


def files_of(source: CorpusSource, suffixes: tuple[str, ...]) -> list[Path]:
    """List the files of a source, those in folders by the order of their names.

    ``suffixes``: what can be read. Hidden files and folders and ``__pycache__`` are left out of a folder. Raises
    :class:`CorpusError` for a path that does not exist, a file of another kind, and patterns that match none.
    """
    if source.path.startswith(HUB):
        only = tuple(suffix for suffix in suffixes if suffix in ROW_SUFFIXES)
        patterns = source.files or tuple(f"*{suffix}" for suffix in only)
        return _in_folder(source, dataset_folder(source.path, patterns), only, _NO_SOURCES)
    if source.path == STANDARD_LIBRARY:
        if ".py" not in suffixes:
            raise CorpusError(
                f"data.sources {source.path}: its files are documents, not examples of sft; give a file of rows"
            )
        return _in_folder(source, Path(sysconfig.get_paths()["stdlib"]), (".py",), _NOT_THE_LIBRARY)
    if source.path.startswith("builtin:"):
        raise CorpusError(f"data.sources {source.path}: the only built-in source is {STANDARD_LIBRARY}")
    try:
        path = Path(source.path).expanduser()
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, RuntimeError) as error:  # what may not be looked into, or no path at all
        raise CorpusError(f"data.sources {source.path}: cannot be read: {error}; check the path") from error
    if is_folder:
        return _in_folder(source, path, suffixes, _NO_SOURCES)
    if not is_file:
        raise CorpusError(f"data.sources {source.path}: no such file or folder; check the path")
    if source.files:
        raise CorpusError(
            f"data.sources {source.path}: files chooses from a folder and this is a file; leave files out"
        )
    if not path.name.endswith(suffixes):
        raise CorpusError(
            f"data.sources {path}: files of this kind cannot be read here; give some named {', '.join(suffixes)}"
        )
    return [path]


def is_of_rows(path: Path) -> bool:
    """Return whether a file holds rows; otherwise it is a document."""
    return path.name.endswith(ROW_SUFFIXES)


def _in_folder(
    source: CorpusSource, folder: Path, suffixes: tuple[str, ...], left_out: frozenset[str]
) -> list[Path]:
    paths = sorted(_below(folder, left_out), key=lambda path: path.relative_to(folder).as_posix())
    if source.files:
        paths = [path for path in paths if _matches(path.relative_to(folder).as_posix(), source.files)]
    readable = [path for path in paths if path.name.endswith(suffixes) and path.is_file()]
    if not readable:
        matching = f" matches {', '.join(source.files)} and" if source.files else ""
        raise CorpusError(
            f"data.sources {source.path}: no file in it{matching} is named {', '.join(suffixes)}; check the path "
            "and its files"
        )
    return readable


def _below(folder: Path, left_out: frozenset[str]) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in left_out]
        yield from (Path(parent) / name for name in files if not name.startswith("."))


def _refuse(error: OSError) -> None:
    raise CorpusError(f"data.sources: a folder cannot be read: {error}; give this process the right to") from error


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
