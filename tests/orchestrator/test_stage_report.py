"""The report of a supervised stage: its figures and charts, whatever of the run there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from common.metrics.registry import find
from common.metrics.stages import STAGE_METRICS
from orchestrator.report.panels import meaning
from orchestrator.report.report_page import write_report
from orchestrator.report.stage_panels import DATA, LEARNING, SPEED, TIME
from tests.orchestrator.recorded_runs import make_stage_run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_report(make_stage_run(tmp_path_factory.mktemp("stage"))).read_text()


def figure(text: str, title: str) -> str:
    return next(part for part in text.split("<figure") if f"<b>{title}</b>" in part).partition("</figure>")[0]


def test_a_finished_stage_says_what_it_did(finished: str) -> None:
    # The mean over the ratios of 6 and 3 times 0.6 + 0.8 t.
    for shown in (
        "report of adapt",
        "6.000 <em>&#8594;</em> 3.000",
        "fell from 6.000 to 3.000",
        "164K</b> tokens",
    ):
        assert shown in finished
    assert "smollm2-adapt" in finished
    assert "pass rate" not in finished
    assert "reward" not in finished
    for shown in ("builtin:stdlib&lt;script&gt;", "<td>1.67K</td>", "<td>9.41M</td>", "<td>84</td>", "<td>3</td>"):
        assert shown in finished


def test_losses_are_told_by_ratio(finished: str) -> None:
    rows = finished.partition("tokens masked</th>")[2]
    assert "<td>0.15</td><td>4.320</td><td>2.160</td>" in rows
    assert rows.index("<td>0.15</td>") < rows.index("<td>0.5</td>") < rows.index("<td>0.85</td>")


@pytest.mark.parametrize(
    ("title", "keys"),
    [
        ("Held-out loss", ["held_out/loss", "held_out/loss_at_t/0.15", "held_out/loss_at_t/0.85"]),
        ("Training loss", ["denoising/loss"]),
        ("Loss by ratio of masked tokens", ["denoising/loss_at_t/*"]),
        ("Loss by position in the document", ["denoising/loss_at_position/*"]),
        ("Model FLOP utilization", ["perf/mfu"]),
        ("Where the time goes", ["seconds/forward_backward", "seconds/optimizer", "seconds/checkpoint"]),
    ],
)
def test_charts_are_drawn(finished: str, title: str, keys: list[str]) -> None:
    found = figure(finished, title)
    assert "<svg" in found
    assert all(f"<code>{key}</code>" in found for key in keys)


def test_heat_is_told_in_nats_and_coloured_by_its_own_range(finished: str) -> None:
    found = figure(finished, "Loss by ratio of masked tokens")
    assert meaning("denoising/loss_at_t/0") in found
    colours = {f"heat h{tone}" for tone in range(10) if f'heat h{tone}"' in found}
    assert {"heat h0", "heat h9"} <= colours, "from the coldest that there is to the hottest"
    ramp = found.partition('class="ramp">')[2].partition("</li>")[0]
    low, high = re.findall(r"[\d.]+", re.sub("<[^>]*>", " ", ramp))
    assert 0 < float(low) < float(high)


def test_every_metric_of_a_stage_has_a_chart() -> None:
    drawn = {key for group in (LEARNING, DATA, SPEED) for panel in group for key in panel.keys}
    elsewhere = {"denoising/loss", "held_out/loss", *TIME}
    assert {metric.key for metric in STAGE_METRICS if not metric.labels} - drawn - elsewhere == set()
    assert all(find(key) for key in drawn)


def test_what_a_run_does_not_have_is_left_out(tmp_path: Path) -> None:
    run = make_stage_run(tmp_path / "run", mfu=False)
    for name in ("evaluations.jsonl", "corpus.json", "summary.json"):
        (run / name).unlink()
    text = write_report(run).read_text()
    assert "There is no evaluation on held-out documents" in text
    assert "was ended from outside, after 40 steps" in text
    assert "Model FLOP utilization" not in text
    assert "<svg" in figure(text, "Training loss")


def test_a_stage_that_has_only_begun(tmp_path: Path) -> None:
    run = make_stage_run(tmp_path / "run")
    (run / "metrics.jsonl").unlink()
    (run / "evaluations.jsonl").write_text("{torn\n")
    (run / "corpus.json").write_text('{"sources": 7}')
    text = write_report(run).read_text()
    assert "after 0 steps" in text
    assert "evaluations.jsonl: 1 line cannot be read" in text
