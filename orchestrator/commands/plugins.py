"""``couplet plugins``: the names that recipes can give to the exchangeable parts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from common.config.algorithms import ESTIMATORS, OBJECTIVES
from common.config.backends import BACKENDS
from common.config.reward import BUILT_IN_REWARDS
from common.models.families import FAMILIES
from common.plugins import installed_plugins
from common.sampler import DECODERS
from common.tasks.formats import FORMATS

_OURS = "couplet-rl"


@dataclass(frozen=True)
class Part:
    """A part and the package that it comes from; ``path`` is the ``module:attribute`` of one from outside."""

    kind: str
    name: str
    path: str
    package: str


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each part instead of a table.")
def plugins(as_json: bool) -> None:
    """List the parts that recipes can name.

    They are estimators, objectives, decoders, task formats, model families and rewards: ours, and those that
    installed packages offer under the entry points couplet.plugins. Beside these names a recipe takes
    module:attribute. Rollout backends are ours alone.
    """
    found = [*_own_parts(), *(Part(**asdict(plugin)) for plugin in installed_plugins())]
    if as_json:
        for part in found:
            click.echo(json.dumps(asdict(part)))
    else:
        Console().print(plugins_view(found))


def plugins_view(parts: Sequence[Part]) -> Table:
    """Lay the parts out as a table, by kind."""
    table = Table(box=None, pad_edge=False)
    for column in ("kind", "name", "package", "path"):
        table.add_column(column, overflow="fold")
    for part in sorted(parts, key=lambda part: part.kind):  # the sort is stable: ours stay first
        table.add_row(part.kind, Text(part.name), Text(part.package), Text(part.path))
    return table


def _own_parts() -> Iterator[Part]:
    for kind, names in _own_names().items():
        yield from (Part(kind, name, "", _OURS) for name in names)


def _own_names() -> Mapping[str, Sequence[str]]:
    """By kind, where a recipe of ours takes them from."""
    return {
        "estimator": tuple(ESTIMATORS),
        "objective": tuple(OBJECTIVES),
        "decoder": DECODERS,
        "task_format": tuple(FORMATS),
        "model_family": tuple(FAMILIES),
        "reward": ("tests", "format", *BUILT_IN_REWARDS),
        "rollout_backend": tuple(BACKENDS),
    }
