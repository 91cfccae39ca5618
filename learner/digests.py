"""Digests of the files of a folder: they tell whether it still holds what was written into it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import xxhash

#: Lists the digest of every other file of its folder.
DIGESTS_FILE = "digests.json"
_PART = ".digests-{}.json"
_CHUNK_BYTES = 4 << 20
_MOST_THREADS = 8


def write_share(folder: Path, rank: int, ranks: int) -> None:
    """Compute the digests of this rank's share of the files in ``folder``, for :func:`join_shares`.

    Every rank must see all files, so all of them must have been written.
    """
    files = sorted(_files(folder), key=lambda name: (-(folder / name).stat().st_size, name))
    (folder / _PART.format(rank)).write_text(json.dumps(_digests(folder, files[rank::ranks])))


def join_shares(folder: Path, ranks: int) -> None:
    """Make one file of the digests that all ranks have written."""
    digests: dict[str, Any] = {}
    for part in (folder / _PART.format(rank) for rank in range(ranks)):
        digests |= json.loads(part.read_text())
        part.unlink()
    (folder / DIGESTS_FILE).write_text(json.dumps(digests, indent=2, sort_keys=True))


def find_damage(folder: Path) -> str | None:
    """Return which file of ``folder`` is not as it was written, and why; None where all of them are.

    Reads every byte, several files at a time.
    """
    try:
        expected = _expected(folder)
    except (OSError, ValueError, LookupError, TypeError) as error:
        return f"{DIGESTS_FILE} cannot be read ({error})"
    for name, (size, _) in expected.items():
        problem = _wrong_size(folder / name, size)
        if problem is not None:
            return f"{name} {problem}"
    try:
        found = _digests(folder, expected)
    except OSError as error:
        return f"{Path(error.filename).relative_to(folder)} cannot be read ({error.strerror})"
    return next(
        (
            f"{name} has other bytes than were written, so it was damaged on the disk"
            for name, digest in expected.items()
            if tuple(found[name]) != digest
        ),
        None,
    )


def _expected(folder: Path) -> dict[str, tuple[int, str]]:
    raw = json.loads((folder / DIGESTS_FILE).read_text())
    return {name: (int(size), str(digest)) for name, (size, digest) in raw.items()}


def _wrong_size(file: Path, size: int) -> str | None:
    try:
        present = file.stat().st_size
    except (OSError, ValueError) as error:
        return "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error})"
    return None if present == size else f"has {present:,} of its {size:,} bytes"


def _files(folder: Path) -> Iterable[str]:
    return (str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and not _is_part(path))


def _is_part(path: Path) -> bool:
    return path.name.startswith(_PART.partition("{")[0])


def _digests(folder: Path, names: Iterable[str]) -> Mapping[str, tuple[int, str]]:
    names = list(names)
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
        return dict(zip(names, pool.map(lambda name: _digest(folder / name), names), strict=True))


def _digest(file: Path) -> tuple[int, str]:
    """Return the size and the digest of a file. Raises OSError that names it."""
    hasher, size, buffer = xxhash.xxh3_128(), 0, bytearray(_CHUNK_BYTES)
    view = memoryview(buffer)
    try:
        with file.open("rb", buffering=0) as opened:
            while count := opened.readinto(buffer):
                hasher.update(view[:count])
                size += count
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(file)) from error
    return size, hasher.hexdigest()
