"""Where the tasks of a run come from: files, and data sets on the Hub."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer

from common.config.base import Name, Rate, Section

#: What a path begins with that names a data set on the Hub, ``hub:owner/name``, or a file of one.
HUB = "hub:"
_SUFFIX = re.compile(r"(\.jsonl|\.parquet|\.gz|\.json)+$")
_NOT_IN_NAMES = re.compile(r"[^\w.-]+", re.ASCII)


class TaskSource(Section):
    """Tasks from one place."""

    path: Annotated[str, Field(min_length=1)]
    """A file, or ``hub:owner/name`` for a data set on the Hub, ``hub:owner/name/file`` for a file of one; the file
    may be a pattern, such as ``data/train-*``."""
    format: str | None = None
    """Format of its rows, as of ``train_format``, which holds for the sources that name none."""
    name: Name | None = None
    """Begins the ids of its tasks where there are several sources; by default it is named after its file."""
    weight: Rate | None = None
    """Share of the groups that are of its tasks, in proportion to the other sources' weights; either all sources
    have one or none. Without weights every task is trained on once an epoch."""

    @property
    def label(self) -> str:
        """What the source is called."""
        return self.name or source_name(self.path)


def source_name(path: str) -> str:
    """Name a source: after its file, and one of the Hub after the data set and the file of it that is given."""
    parts = path.removeprefix(HUB).split("/")
    named = [*parts[1:2], *parts[2:][-1:]] if path.startswith(HUB) else parts[-1:]
    return "-".join(_NOT_IN_NAMES.sub("-", _SUFFIX.sub("", part)).strip("-") for part in named)


def _from_paths(value: Any) -> Any:
    if value is None:
        return ()
    given = value if isinstance(value, list | tuple) else [value]
    return tuple({"path": str(item)} if isinstance(item, str | Path) else item for item in given)


def _briefly(sources: tuple[TaskSource, ...]) -> Any:
    """Write one path, or none, as recipes do that have no more to say."""
    stated = [source.model_dump(exclude_none=True) for source in sources]
    brief = [source["path"] if len(source) == 1 else source for source in stated]
    if not brief:
        return None
    return brief[0] if len(brief) == 1 and isinstance(brief[0], str) else brief


#: One source or several, each a path or a section.
TaskSources = Annotated[
    tuple[TaskSource, ...],
    BeforeValidator(_from_paths, json_schema_input_type=str | list[str | TaskSource] | None),
    PlainSerializer(_briefly),
]
