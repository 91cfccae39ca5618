"""The PromQL in dashboards and rules: read out, filled in, taken apart, and asked of a Prometheus."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import promql_parser

if TYPE_CHECKING:
    from tests.deploy.prometheus_server import Prometheus, Series

ROOT = Path(__file__).resolve().parents[2]
DASHBOARDS = sorted((ROOT / "deploy/helm/couplet/files/dashboards").glob("*.json"))

#: What matches series with any value of a label, and those without it, as "All" does in the Rewards dashboard.
ALL = ".*"


@dataclass(frozen=True)
class Query:
    """``legend`` still has its ``{{label}}``; ``expr`` has no variable left. ``instant``: asked once, for now."""

    dashboard: str
    panel: str
    expr: str
    legend: str = ""
    instant: bool = False

    def answer(self, prometheus: Prometheus, seconds: float) -> list[Series]:
        """As Grafana asks of the last ``seconds``. Raises ValueError with Prometheus' reason where it is wrong."""
        return prometheus.query(self.expr) if self.instant else prometheus.query_range(self.expr, seconds)


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All panels of a dashboard in its order, those in collapsed rows too, but not the rows."""
    for panel in dashboard.get("panels", []):
        if panel["type"] == "row":
            yield from panels(panel)
        else:
            yield panel


def queries(
    path: Path, run: str = ALL, *, window: str = "30s", whole: str = "1h", role: str = ALL, namespace: str = ALL
) -> list[Query]:
    """Every query of every panel. ``window``: what a rate looks at; ``whole``: what the dashboard shows."""
    dashboard = json.loads(path.read_text())
    return [
        Query(
            dashboard["title"],
            panel["title"],
            filled(target["expr"], run, window, whole, role, namespace),
            target["legendFormat"],
            target.get("instant", False),
        )
        for panel in panels(dashboard)
        for target in panel["targets"]
    ]


def annotations(path: Path, run: str = ALL, *, window: str = "30s") -> list[Query]:
    """The queries of a dashboard's annotations; most of the time they have no data."""
    dashboard = json.loads(path.read_text())
    return [
        Query(dashboard["title"], annotation["name"], filled(annotation["expr"], run, window))
        for annotation in dashboard["annotations"].get("list", [])
    ]


def filled(
    expr: str, run: str = ALL, window: str = "30s", whole: str = "1h", role: str = ALL, namespace: str = ALL
) -> str:
    """``expr`` with Grafana's variables replaced, as for minutes of data. Raises KeyError for an unknown one."""
    values = {"namespace": namespace, "run": run, "role": role, "worker": ALL, "node": ALL, "ray_node": ALL}
    values |= {"__rate_interval": window, "__interval": "1s", "__range": whole}
    return re.sub(r"\$([a-z_]\w*)", lambda found: values[found[1]], expr)


def selectors(expr: str) -> list[Any]:
    """The vector selectors of an expression, with those of its ranges. Raises ValueError for bad PromQL."""
    found: list[Any] = []

    def visit(node: Any) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)
        elif isinstance(node, promql_parser.MatrixSelector):
            found.append(node.vector_selector)

    promql_parser.walk(promql_parser.parse(expr), visit)
    return found


def metric_names(expr: str) -> set[str]:
    """The metrics that an expression asks for, also by ``__name__=~"one|other"``."""
    names: set[str] = set()
    for selector in selectors(expr):
        named = [matcher.value for matcher in selector.matchers.matchers if matcher.name == "__name__"]
        names.update([selector.name] if selector.name else (name for value in named for name in value.split("|")))
    return names


def unanswered(prometheus: Prometheus, asked: list[Query], seconds: float) -> list[str]:
    """A line for each query that failed, or had no finite value in the last ``seconds``."""
    lines = []
    for query in asked:
        try:
            series = query.answer(prometheus, seconds)
        except ValueError as error:
            lines.append(f"{query.dashboard}: {query.panel}: {error}")
            continue
        if not any(math.isfinite(value) for one in series for _, value in one.points):
            lines.append(f"{query.dashboard}: {query.panel}: no data: {query.expr}")
    return lines
