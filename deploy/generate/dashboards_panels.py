"""Panels that look alike in every dashboard, described by the help texts of the metrics that they show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from grafana_foundation_sdk.builders import bargauge, heatmap, stat, timeseries, xychart
from grafana_foundation_sdk.builders import common as options
from grafana_foundation_sdk.builders.dashboard import FieldColor, ThresholdsConfig
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models import heatmap as heat_models
from grafana_foundation_sdk.models import prometheus as prometheus_models
from grafana_foundation_sdk.models import xychart as xy_models

from deploy.generate.queries import Query, metrics_in

DATASOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")

_GRAPH_HEIGHT = 8
_STAT_HEIGHT = 4

Panel = timeseries.Panel | stat.Panel | bargauge.Panel | heatmap.Panel | xychart.Panel


@dataclass(frozen=True)
class Choice:
    """A variable: the values that label ``of``, by default ``name``, has in the series ``shown``.

    ``everything`` is what "All" matches. Where it is empty, Grafana makes a list of the values, which leaves out
    series without the label.
    """

    name: str
    title: str
    shown: str
    of: str = ""
    everything: str = ""

    @property
    def query(self) -> str:
        return f"label_values({self.shown}, {self.of or self.name})"


#: A Prometheus that knows no namespaces has series without that label.
NAMESPACE = Choice("namespace", "Namespace", "couplet_training_step", everything=".*")
RUN = Choice("run", "Run", "couplet_training_step")


@dataclass(frozen=True)
class Board:
    """A dashboard: its panels by the title of their row. A row without a title comes first and has no header."""

    title: str
    about: str
    rows: dict[str, list[Panel]]
    choices: tuple[Choice, ...] = (NAMESPACE, RUN)

    @property
    def uid(self) -> str:
        return f"couplet-{self.title.lower()}"


_P = TypeVar("_P", timeseries.Panel, stat.Panel, bargauge.Panel, heatmap.Panel, xychart.Panel)


def graph(
    title: str,
    *queries: Query,
    unit: str = "none",
    width: int = 8,
    note: str = "",
    stacked: bool = False,
    step: Query | None = None,
    absent: str = "",
) -> timeseries.Panel:
    """Lines over wall-clock time; ``step`` is drawn against an axis of its own, on the right.

    ``absent``: what the panel says where there are no series.
    """
    shown = [*queries, step] if step else queries
    panel = _dressed(timeseries.Panel(), title, shown, unit, width, _GRAPH_HEIGHT, note)
    panel.line_width(2 if len(queries) == 1 else 1).fill_opacity(40 if stacked else 0).axis_soft_min(0)
    panel.legend(_legend().calcs(["lastNotNull"]))
    panel.tooltip(
        options.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING)
    )
    if absent:
        panel.no_value(absent)
    if stacked:
        panel.stacking(options.StackingConfig().mode(common.StackingMode.NORMAL))
    if step:
        panel.override_by_query(
            _reference(len(queries)),
            [
                dashboard.DynamicConfigValue("custom.axisPlacement", "right"),
                dashboard.DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [4, 6]}),
                dashboard.DynamicConfigValue("custom.lineWidth", 1),
                dashboard.DynamicConfigValue("unit", "none"),
            ],
        )
    return panel


def figure(
    title: str, query: Query, unit: str = "none", width: int = 4, note: str = "", bad_from: float | None = None
) -> stat.Panel:
    """The last value, large, with its course behind it; red from ``bad_from`` on."""
    panel = _dressed(stat.Panel(), title, [query], unit, width, _STAT_HEIGHT, note)
    panel.reduce_options(options.ReduceDataOptions().calcs(["lastNotNull"]))
    panel.graph_mode(common.BigValueGraphMode.AREA).color_mode(common.BigValueColorMode.VALUE)
    steps = [dashboard.Threshold(color="green")]
    if bad_from is not None:
        steps.append(dashboard.Threshold(value=bad_from, color="red"))
    return panel.thresholds(ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps))


def label(title: str, query: Query, width: int, note: str = "") -> stat.Panel:
    """The legend of a series whose value says nothing."""
    panel = figure(title, query, width=width, note=note)
    return panel.text_mode(common.BigValueTextMode.NAME).graph_mode(common.BigValueGraphMode.NONE)


def bars(title: str, query: Query, unit: str, width: int = 8, note: str = "") -> bargauge.Panel:
    """The last value of each series as a bar from 0 to 1."""
    panel = _dressed(bargauge.Panel(), title, [query], unit, width, _GRAPH_HEIGHT, note)
    panel.min(0).max(1).orientation(common.VizOrientation.HORIZONTAL)
    panel.reduce_options(options.ReduceDataOptions().calcs(["lastNotNull"]))
    return panel.color_scheme(FieldColor().mode(dashboard.FieldColorModeId.CONTINUOUS_BL_PU))


def heat(title: str, query: Query, unit: str, axis: str, width: int = 16, note: str = "") -> heatmap.Panel:
    """A row of cells for each series, its values from 0 to 1 as colours; the first series on top."""
    panel = _dressed(heatmap.Panel(), title, [query], unit, width, _GRAPH_HEIGHT, note)
    panel.calculate(False).rows_frame(heatmap.RowsHeatmapOptions().layout(common.HeatmapCellLayout.UNKNOWN))
    panel.color(
        heatmap.HeatmapColorOptions()
        .mode(heat_models.HeatmapColorMode.SCHEME)
        .scheme("Spectral")
        .steps(64)
        .min(0)
        .max(1)
    )
    panel.show_legend().show_color_scale(True)
    panel.cell_values(heatmap.CellValues().unit(unit).decimals(2))
    panel.filter_values(heatmap.FilterValueRange().le(-1.0))  # by default a cell of exactly 0 is not drawn
    panel.y_axis(heatmap.YAxisConfig().axis_label(axis).reverse(True).unit("short"))
    return panel.max_data_points(240)


def against_step(title: str, query: Query, width: int, note: str = "") -> xychart.Panel:
    """A line for each run over its learner steps. The query gives the last value of each ``step``, a label."""
    panel = xychart.Panel().title(title).description(_description([query], note)).unit("none")
    panel.span(width).height(_GRAPH_HEIGHT).datasource(DATASOURCE).max_data_points(500)
    target = Dataquery().datasource(DATASOURCE).expr(query.expr).legend_format(_named(query)).ref_id(_reference(0))
    panel.with_target(target.format(prometheus_models.PromQueryFormat.TABLE).instant())
    for name, settings in (
        ("convertFieldType", {"conversions": [{"targetField": "step", "destinationType": "number"}]}),
        ("sortBy", {"sort": [{"field": "step"}]}),
        ("partitionByValues", {"fields": ["namespace", "run"], "naming": {"asLabels": False}}),
    ):
        panel.with_transformation(dashboard.DataTransformerConfig(id_val=name, options=settings))
    x = xychart.XychartXYSeriesConfigX().matcher(xychart.MatcherConfig().id("byName").options("step"))
    panel.legend(_legend())
    panel.mapping(xy_models.SeriesMapping.AUTO).series([xychart.XYSeriesConfig().x(x)])
    panel.show(xy_models.XYShowMode.POINTS_AND_LINES).point_size(xychart.XychartFieldConfigPointSize().fixed(3))
    return panel


def _legend() -> options.VizLegendOptions:
    legend = options.VizLegendOptions().show_legend(True).placement(common.LegendPlacement.BOTTOM)
    return legend.display_mode(common.LegendDisplayMode.LIST)


def _dressed(panel: _P, title: str, queries: Sequence[Query], unit: str, width: int, height: int, note: str) -> _P:
    panel.title(title).description(_description(queries, note)).unit(unit).span(width).height(height)
    panel.datasource(DATASOURCE)
    for index, query in enumerate(queries):
        panel.with_target(
            Dataquery()
            .datasource(DATASOURCE)
            .expr(query.expr)
            .legend_format(_named(query))
            .ref_id(_reference(index))
            .range()
        )
    return panel


def _named(query: Query) -> str:
    return query.legend.replace("{{run}}", "{{namespace}} {{run}}")


def _reference(index: int) -> str:
    return chr(ord("A") + index)


def _description(queries: Sequence[Query], note: str) -> str:
    helps = [metric.help for query in queries for metric in metrics_in(query.expr)]
    return "\n".join(dict.fromkeys([*([note] if note else []), *(f"- {text}" for text in helps)]))
