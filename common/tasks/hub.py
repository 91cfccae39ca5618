"""Task files of data sets on the Hugging Face Hub."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

from common.tasks.rows import TaskFileError

#: What names a data set on the Hub, ``hub:owner/name``, or a file of one, ``hub:owner/name/file``.
HUB = "hub:"
_KINDS = ("*.jsonl", "*.jsonl.gz", "*.parquet")
_PARTS = 2


def downloaded(source: str) -> Path:
    """Download a task file of the Hub, unless it is in the cache. Nothing in a data set is run.

    The file may be a pattern such as ``data/test-*``, and may be left out where the data set has one only. Raises
    TaskFileError where neither the Hub nor the cache gives exactly one.
    """
    # Here, since only this needs it and its import takes a second.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    parts = source.removeprefix(HUB).split("/", _PARTS)
    patterns = parts[_PARTS:] or list(_KINDS)
    try:
        folder = Path(snapshot_download("/".join(parts[:_PARTS]), repo_type="dataset", allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise TaskFileError(
            f"{source}: no data set that the Hub gives: {error}; check its name, or download the file and give "
            "its path"
        ) from error
    files = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    found = sorted(file for file in files if any(fnmatch(file, pattern) for pattern in patterns))
    if len(found) != 1:
        which = f"several files ({', '.join(found)})" if found else "no file of JSON lines or Parquet"
        raise TaskFileError(f"{source}: names {which}; name one of the data set, as {HUB}owner/name/file")
    return folder / found[0]
