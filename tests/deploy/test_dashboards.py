"""The dashboards: well-formed, about metrics that exist, and with data in every panel of a real Prometheus."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from common.metrics.metric import Kind
from common.metrics.registry import METRICS
from tests.deploy.outside_metrics import OUTSIDE
from tests.deploy.prometheus_server import Prometheus
from tests.deploy.promql import (
    DASHBOARDS,
    ROOT,
    Query,
    annotations,
    metric_names,
    panels,
    queries,
    selectors,
    unanswered,
)
from tests.deploy.sample_metrics import NAMESPACE, RUN, SECONDS, write_sample

_SERIES = {name: metric for metric in METRICS for name in metric.series_names}
_COLUMNS = 24
#: Labels that variables choose by, where they are named otherwise.
_LABELS = {"node": "nodename", "ray_node": "ip"}
#: Metrics that no dashboard shows, and why.
_NOT_SHOWN = {"objective/{metric}": "only an objective from outside has them, under names and units of its own"}
_CONFIG = f"rule_files: [{ROOT / 'deploy/helm/couplet/files/rules.yaml'}]\nglobal: {{evaluation_interval: 1s}}\n"


@pytest.fixture(params=DASHBOARDS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


@pytest.fixture
def board(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """One that has ten minutes of every metric of the registry."""
    folder = tmp_path_factory.mktemp("prometheus")
    write_sample(folder / "data")
    with Prometheus(_CONFIG, folder) as server:
        yield server


def test_the_six_dashboards_are_there_and_lead_to_each_other() -> None:
    boards = [json.loads(path.read_text()) for path in DASHBOARDS]
    assert {board["uid"] for board in boards} == {
        f"couplet-{name}" for name in ("run", "diffusion", "stages", "system", "rewards", "machines")
    }
    for board in boards:
        (link,) = board["links"]
        assert (link["type"], link["includeVars"], link["keepTime"]) == ("dashboards", True, True)
        assert link["tags"] == board["tags"] == ["couplet"]


def test_grafana_knows_every_field(board: dict[str, Any]) -> None:
    """The model of the SDK drops what it does not know, so a misspelt field would be missing."""
    assert json.loads(json.dumps(Dashboard.from_json(board), cls=JSONEncoder)) == board


def test_the_frame_is_as_agreed(board: dict[str, Any]) -> None:
    assert board["editable"] is False
    assert board["refresh"] == "10s"
    assert board["time"] == {"from": "now-6h", "to": "now"}
    source, *choices = board["templating"]["list"]
    assert (source["type"], source["name"], source["query"]) == ("datasource", "datasource", "prometheus")
    assert "namespace" in [choice["name"] for choice in choices]
    for choice in choices:
        assert choice["datasource"]["uid"] == "${datasource}"
        assert choice["refresh"] == 2, "reloads when the time range changes"
        assert choice["multi"]
        assert choice["includeAll"]
        named = re.fullmatch(r"label_values\((\w+), (\w+)\)", choice["query"]["query"])
        assert named
        assert named[1] in {*_SERIES, *OUTSIDE}
        assert named[2] == _LABELS.get(choice["name"], choice["name"])


def test_every_panel_is_complete(board: dict[str, Any]) -> None:
    shown = list(panels(board))
    numbers = [panel["id"] for panel in [*board["panels"]]]
    assert len(set(numbers)) == len(numbers)
    for panel in shown:
        assert panel["title"]
        assert panel["description"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["targets"]
        for target in panel["targets"]:
            assert target["legendFormat"], panel["title"]
            assert target["datasource"]["uid"] == "${datasource}"
    titles = [panel["title"] for panel in shown if panel["type"] == "timeseries"]
    assert len(titles) <= len(set(titles)) + 2, "one title for one thing"


def test_panels_fill_their_rows_without_overlap(board: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    heights = {y for _, y in taken}
    assert heights == set(range(max(heights) + 1))
    assert len(taken) == len(heights) * _COLUMNS, "a row has a hole"


def test_queries_are_promql_over_the_registry(path: Path) -> None:
    for query in [*queries(path), *annotations(path)]:
        names = metric_names(query.expr)
        assert names <= {*_SERIES, *OUTSIDE, "ALERTS"}, query
        assert names, query


def test_queries_choose_the_run_and_rate_counters_in_the_right_window(board: dict[str, Any]) -> None:
    for panel in panels(board):
        for target in panel["targets"]:
            expr = target["expr"]
            plain = re.sub(r"\$\w+", lambda found: "1h" if "__" in found[0] else "x", expr)
            for selector in selectors(plain):
                matchers = {(matcher.name, matcher.value) for matcher in selector.matchers.matchers}
                assert ("run", "x") in matchers or selector.name in OUTSIDE, expr
                metric = _SERIES.get(selector.name or "")
                if metric is not None and metric.kind is not Kind.GAUGE and metric.key != "fleet/restarts":
                    assert re.search(rf"(rate|increase)\({selector.name}{{[^}}]*}}\[", expr), expr
            assert '~"$' in expr, "a variable chooses"
            for window in re.findall(r"rate\([^\[]*\[([^\]]*)\]", expr):
                assert window == "$__rate_interval", expr


def test_every_metric_is_shown_or_has_a_reason() -> None:
    shown = {name for path in DASHBOARDS for query in queries(path) for name in metric_names(query.expr)}
    keys = {_SERIES[name].key for name in shown if name in _SERIES}
    assert {metric.key for metric in METRICS} - keys == set(_NOT_SHOWN)


def test_every_query_has_data(path: Path, prometheus: Prometheus) -> None:
    asked = queries(path, run=RUN)
    assert unanswered(prometheus, asked, SECONDS) == []
    for query in annotations(path, run=RUN):
        prometheus.query(query.expr)


def test_runs_of_one_name_in_two_namespaces_stay_apart(path: Path, prometheus: Prometheus) -> None:
    both, one = queries(path, run=RUN), queries(path, run=RUN, namespace=NAMESPACE)
    for query, chosen in zip(both, one, strict=True):
        if "namespace" not in query.legend:  # of the one run that is chosen
            continue
        for asked, expected in ((query, {"", NAMESPACE}), (chosen, {NAMESPACE})):
            found = {series.labels.get("namespace", "") for series in asked.answer(prometheus, SECONDS)}
            assert found == expected, asked


def test_what_cannot_be_answered_is_said(prometheus: Prometheus) -> None:
    asked = [Query("Board", "Panel", expr) for expr in ("couplet_training_step", "couplet_none", "rate(")]
    none, wrong = unanswered(prometheus, asked, SECONDS)
    assert none == "Board: Panel: no data: couplet_none"
    assert "parse error" in wrong


def test_the_service_of_no_run_is_among_all(prometheus: Prometheus) -> None:
    rewards = next(path for path in DASHBOARDS if path.stem == "couplet-rewards")
    for query in queries(rewards, role="reward-service"):
        runs = {series.labels.get("run", "") for series in query.answer(prometheus, SECONDS)}
        assert runs == {RUN, ""}, query


def test_the_server_evaluates_every_rule(prometheus: Prometheus) -> None:
    for rule in prometheus.rules():
        assert rule["health"] in ("ok", "unknown"), rule


def test_every_metric_from_outside_is_shown() -> None:
    shown = {name for path in DASHBOARDS for query in queries(path) for name in metric_names(query.expr)}
    assert shown >= OUTSIDE.keys()


def test_panels_of_exporters_that_may_be_missing_say_so() -> None:
    board = json.loads(next(path for path in DASHBOARDS if path.stem == "couplet-machines").read_text())
    for panel in panels(board):
        assert "docs/metrics.md" in panel["fieldConfig"]["defaults"]["noValue"], panel["title"]
