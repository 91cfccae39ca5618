"""The Grafana dashboards as JSON, in the chart; compose.yaml mounts them from there."""

from __future__ import annotations

import json
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from deploy.generate import (
    dashboards_diffusion,
    dashboards_rewards,
    dashboards_run,
    dashboards_stages,
    dashboards_system,
)
from deploy.generate.dashboards_panels import DATASOURCE, Board
from deploy.generate.queries import CHOSEN, WHOSE, Scope

FOLDER = Path("deploy/helm/couplet/files/dashboards")

_RUN = Scope(CHOSEN, by=WHOSE)


def boards() -> list[Board]:
    modules = (dashboards_run, dashboards_diffusion, dashboards_stages, dashboards_system, dashboards_rewards)
    return [module.board() for module in modules]


def files() -> dict[Path, str]:
    """One file for each dashboard."""
    return {FOLDER / f"{board.uid}.json": _text(board) for board in boards()}


def _text(board: Board) -> str:
    return json.dumps(_dashboard(board).build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def _dashboard(board: Board) -> builders.Dashboard:
    builder = (
        builders.Dashboard(f"Couplet / {board.title}")
        .uid(board.uid)
        .description(board.about)
        .tags(["couplet"])
        .readonly()
        .refresh("10s")
        .time("now-6h", "now")
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .link(_links())
        .with_variable(builders.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    )
    for variable in _variables(board):
        builder.with_variable(variable)
    for annotation in _annotations():
        builder.annotation(annotation)
    numbers = iter(range(1, 1000))
    for title, panels in board.rows.items():
        if title:
            builder.with_row(builders.Row(title).id(next(numbers)))
        for panel in panels:
            builder.with_panel(panel.id(next(numbers)))
    return builder


def _links() -> builders.DashboardLink:
    """To the others: all that have the tag, with the same variables and the same time."""
    return (
        builders.DashboardLink("Couplet")
        .type(models.DashboardLinkType.DASHBOARDS)
        .tags(["couplet"])
        .include_vars(True)
        .keep_time(True)
    )


def _variables(board: Board) -> list[builders.QueryVariable]:
    """The value of "All" is given where a list of the values would leave out series without the label: those of a
    Prometheus that knows no namespaces, and of the service that has no run."""
    shown = "couplet_scoring_slots" if board.of_services else "couplet_training_step"
    namespace = _choice("namespace", "Namespace", f"label_values({shown}, namespace)").all_value(".*")
    run = _choice("run", "Run", f"label_values({shown}, run)")
    if not board.of_services:
        return [namespace, run]
    role = _choice("role", "Scored by", f"label_values({shown}, role)").all_value(".*")
    return [namespace, run.all_value(".*"), role]


def _choice(name: str, label: str, query: str) -> builders.QueryVariable:
    return (
        builders.QueryVariable(name)
        .label(label)
        .datasource(DATASOURCE)
        .query({"query": query, "refId": name, "qryType": 1})
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_DESC)
        .multi(True)
        .include_all(True)
        .current(models.VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


def _annotations() -> list[builders.AnnotationQuery]:
    restarts = f"{_RUN.rate('fleet/restarts', 'pool')} > 0"
    rises = f"changes(couplet_evaluation_pass_rate{{{CHOSEN}}}[$__rate_interval])"
    evaluations = f"max by ({', '.join(WHOSE)}) ({rises}) > 0"
    return [_annotation("Restarts", restarts, "red"), _annotation("New held-out pass rate", evaluations, "blue")]


def _annotation(name: str, expr: str, color: str) -> builders.AnnotationQuery:
    return builders.AnnotationQuery().name(name).datasource(DATASOURCE).enable(True).expr(expr).icon_color(color)
