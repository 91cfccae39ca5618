"""Write rows to a file whose name says its kind; it is there whole or not at all."""

from __future__ import annotations

import gzip
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.tasks.rows import TaskFileError

_SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")


def check_writable(path: Path) -> None:
    """Check a file's name and folder. Raises :class:`TaskFileError` for no known kind, or no such folder."""
    if not path.name.endswith(_SUFFIXES):
        raise TaskFileError(f"{path}: of no known kind; let its name end in {', '.join(_SUFFIXES)}")
    if not path.parent.is_dir():
        raise TaskFileError(f"{path}: its folder does not exist; make it first")


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write a file, in place of what was there. Raises :class:`TaskFileError`, and leaves it, where it cannot."""
    # It takes a fifth of a second, and few commands write rows.
    import pyarrow as pa
    import pyarrow.parquet as pq

    check_writable(path)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise TaskFileError(f"{path}: cannot be written ({error}); choose another place") from error
    temporary = Path(name)
    try:
        if path.suffix == ".parquet":
            pq.write_table(pa.Table.from_pylist(list(rows)), temporary)
        else:
            data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8")
            temporary.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
        temporary.chmod(0o644)
        temporary.replace(path)
    except (OSError, pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise TaskFileError(f"{path}: cannot be written ({error}); choose another place or kind") from error
    finally:
        temporary.unlink(missing_ok=True)
