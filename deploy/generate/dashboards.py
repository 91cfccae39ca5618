"""The Grafana dashboards as JSON, in the chart; compose.yaml mounts them from there."""

from __future__ import annotations

import json
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from deploy.generate import (
    dashboards_diffusion,
    dashboards_machines,
    dashboards_rewards,
    dashboards_run,
    dashboards_stages,
    dashboards_system,
)
from deploy.generate.dashboards_panels import DATASOURCE, RUN, Board, Choice
from deploy.generate.queries import CHOSEN, WHOSE, Scope

FOLDER = Path("deploy/helm/couplet/files/dashboards")

_RUN = Scope(CHOSEN, by=WHOSE)


def boards() -> list[Board]:
    return [
        dashboards_run.board(),
        dashboards_diffusion.board(),
        dashboards_stages.board(),
        dashboards_system.board(),
        dashboards_rewards.board(),
        dashboards_machines.board(),
    ]


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
    for choice in board.choices:
        builder.with_variable(_variable(choice))
    for annotation in _annotations() if RUN.name in {choice.name for choice in board.choices} else ():
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


def _variable(choice: Choice) -> builders.QueryVariable:
    variable = (
        builders.QueryVariable(choice.name)
        .label(choice.title)
        .datasource(DATASOURCE)
        .query({"query": choice.query, "refId": choice.name, "qryType": 1})
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_DESC)
        .multi(True)
        .include_all(True)
        .current(models.VariableOption(selected=True, text=["All"], value=["$__all"]))
    )
    return variable.all_value(choice.everything) if choice.everything else variable


def _annotations() -> list[builders.AnnotationQuery]:
    restarts = f"{_RUN.rate('fleet/restarts', 'pool')} > 0"
    rises = f"changes(couplet_evaluation_pass_rate{{{CHOSEN}}}[$__rate_interval])"
    evaluations = f"max by ({', '.join(WHOSE)}) ({rises}) > 0"
    return [_annotation("Restarts", restarts, "red"), _annotation("New held-out pass rate", evaluations, "blue")]


def _annotation(name: str, expr: str, color: str) -> builders.AnnotationQuery:
    return builders.AnnotationQuery().name(name).datasource(DATASOURCE).enable(True).expr(expr).icon_color(color)
