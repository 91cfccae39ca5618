"""Task files of data sets on the Hugging Face Hub."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

from common.config.task_source import HUB
from common.tasks.rows import MissingTaskFileError, TaskFileError

_KINDS = ("*.jsonl", "*.jsonl.gz", "*.parquet")
_PARTS = 2


def task_file(path: str, *, download: bool = True) -> Path:
    """Return the file of a path, or of a name on the Hub as :func:`downloaded` does. Raises TaskFileError."""
    return downloaded(path, download=download) if path.startswith(HUB) else Path(path)


def downloaded(source: str, *, download: bool = True) -> Path:
    """Download a task file of the Hub, unless it is in the cache. Nothing in a data set is run.

    The file may be a pattern such as ``data/test-*``, and may be left out where the data set has one only. Raises
    TaskFileError where neither the Hub nor the cache gives exactly one; without ``download`` only the cache may.
    """
    # Here, since only this needs it and its import takes a second.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    parts = source.removeprefix(HUB).split("/", _PARTS)
    patterns = parts[_PARTS:] or list(_KINDS)
    try:
        folder = Path(
            snapshot_download(
                "/".join(parts[:_PARTS]),
                repo_type="dataset",
                allow_patterns=patterns,
                local_files_only=not download,
            )
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        if not download and isinstance(error, LocalEntryNotFoundError):
            raise MissingTaskFileError(
                f"{source}: no data set that the Hub gives is in the cache; the run downloads it"
            ) from error
        raise TaskFileError(
            f"{source}: no data set that the Hub gives: {error}; check its name, or download the file and give "
            "its path"
        ) from error
    files = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    found = sorted(file for file in files if any(fnmatch(file, pattern) for pattern in patterns))
    if len(found) != 1:
        which = f"several files ({', '.join(found)})" if found else "no file of JSON lines or Parquet"
        raise TaskFileError(
            f"{source}: names {which}; name one of the data set, as {HUB}owner/name/file, and several as a list"
        )
    return folder / found[0]
