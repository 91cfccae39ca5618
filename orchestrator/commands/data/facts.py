"""A table of named facts, as the commands on task files print it."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text


def facts_table(*rows: tuple[str, str]) -> Table:
    """Lay out (name, value) pairs in two columns, without reading markup in them."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    for name, value in rows:
        table.add_row(Text(name), Text(value))
    return table
