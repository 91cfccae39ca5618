"""The alert rules: valid, about metrics that exist, and each tried where it fires and where it does not."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.config import Config, Section
from common.config.loading import sections_in
from common.metrics.registry import METRICS
from tests.deploy.promql import ROOT, metric_names
from tests.deploy.tools import tool

RULES = ROOT / "deploy/helm/couplet/files/rules.yaml"
RULES_TEST = ROOT / "deploy/prometheus/rules_test.yaml"
#: Metrics of exporters that are not ours: redis_exporter's, and DCGM's of GPUs.
_OUTSIDE = {"redis_up", "redis_memory_used_bytes", "redis_memory_max_bytes", "DCGM_FI_DEV_GPU_UTIL"}
_NAMES = {name for metric in METRICS for name in metric.series_names}
_RULES: list[dict[str, Any]] = [r for group in yaml.safe_load(RULES.read_text())["groups"] for r in group["rules"]]


def _promtool(*arguments: str) -> str:
    command = [str(tool("promtool")), *arguments]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def test_promtool_accepts_the_rules() -> None:
    assert f"SUCCESS: {len(_RULES)} rules found" in _promtool("check", "rules", "--lint-fatal", str(RULES))


def test_every_alert_fires_and_does_not_fire_as_its_cases_say() -> None:
    assert "SUCCESS" in _promtool("test", "rules", str(RULES_TEST))


def test_runs_of_one_name_in_two_namespaces_stay_apart(tmp_path: Path) -> None:
    """One fails on 5 of 100 completions, the other on none: together it would be 2.5 of 100, and one alert."""
    (tmp_path / RULES.name).write_text(RULES.read_text())
    cases = yaml.safe_load(RULES_TEST.read_text())
    cases["rule_files"] = [RULES.name]
    (case,) = [one for one in cases["tests"] if one["name"].startswith("CoupletInfraFailures fires")]
    others = [{**one, "series": one["series"].replace("{", '{namespace="b",')} for one in case["input_series"]]
    for one in case["input_series"]:
        one["series"] = one["series"].replace("{", '{namespace="a",')
    for one in others:
        one["values"] = "0+0x120" if "excluded" in one["series"] else one["values"]
    case["input_series"] += others
    (expected,) = case["alert_rule_test"][0]["exp_alerts"]
    expected["exp_labels"]["namespace"] = "a"
    cases["tests"] = [case]
    (tmp_path / RULES_TEST.name).write_text(yaml.safe_dump(cases))
    assert "SUCCESS" in _promtool("test", "rules", str(tmp_path / RULES_TEST.name))


def test_a_wrong_threshold_is_noticed(tmp_path: Path) -> None:
    """The cases would not pass with any rules: with a threshold moved, they do not."""
    (tmp_path / RULES.name).write_text(RULES.read_text().replace("> 0.01", "> 0.5"))
    cases = yaml.safe_load(RULES_TEST.read_text())
    cases["rule_files"] = [RULES.name]
    cases["tests"] = [case for case in cases["tests"] if case["name"].startswith("CoupletInfraFailures")]
    (tmp_path / RULES_TEST.name).write_text(yaml.safe_dump(cases))
    command = [str(tool("promtool")), "test", "rules", RULES_TEST.name]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert answer.returncode == 1
    assert "CoupletInfraFailures" in answer.stdout + answer.stderr


def test_no_alert_lacks_a_case_of_either_kind() -> None:
    tried: dict[str, set[bool]] = {}
    for one in yaml.safe_load(RULES_TEST.read_text())["tests"]:
        for case in one["alert_rule_test"]:
            tried.setdefault(case["alertname"], set()).add(bool(case["exp_alerts"]))
    assert tried == {rule["alert"]: {True, False} for rule in _RULES}


@pytest.mark.parametrize("rule", _RULES, ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_metrics_of_the_registry_and_keeps_the_run(rule: dict[str, Any]) -> None:
    names = metric_names(rule["expr"])
    assert names
    assert names <= _NAMES | _OUTSIDE
    assert set(re.findall(r"\b(?:max|min|sum|avg) by \((\w+)", rule["expr"])) == {"namespace"}


@pytest.mark.parametrize("rule", _RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert set(rule["annotations"]) == {"summary", "description", "runbook"}
    assert len(rule["annotations"]["description"].split(". ")) >= 2, "a cause and a remedy"
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^#+ (.*)$", (ROOT / page).read_text(), re.MULTILINE)
    assert anchor in {re.sub(r"[^\w]+", "-", heading.lower()).strip("-") for heading in headings}


def test_settings_that_the_texts_name_exist() -> None:
    settings = re.compile(rf"\b(?:{'|'.join(Config.model_fields)})\.[a-z_.]*[a-z_]")
    for rule in _RULES:
        for name in settings.findall(rule["annotations"]["description"]):
            sections: list[type[Section]] = [Config]
            for field in name.split("."):
                fields = [section.model_fields[field] for section in sections if field in section.model_fields]
                assert fields, name
                sections = [section for found in fields for section in sections_in(found.annotation).values()]
