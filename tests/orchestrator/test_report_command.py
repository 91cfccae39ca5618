"""`couplet report`: one run's page, and several runs compared."""

from __future__ import annotations

import json
import os
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from orchestrator.commands.main import main
from tests.orchestrator.recorded_runs import HOSTILE, lines, make_run, make_stage_run


def couplet(*words: str | Path) -> Result:
    result = CliRunner(env={"COLUMNS": "160"}).invoke(main, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with runs/mine, which does better than runs/quickstart, and is still going."""
    monkeypatch.chdir(tmp_path)
    make_run(Path("runs/quickstart"), name="quickstart", temperature=1.2, decoder="entropy")
    mine = make_run(Path("runs/mine"), steps=24, name="mine", gain=0.5, temperature=1.0, decoder="entropy")
    (mine / "summary.json").unlink()
    return tmp_path


def test_one_run(runs: Path) -> None:
    result = couplet("report", "runs/mine")
    assert (result.exit_code, result.stdout) == (0, "runs/mine/report.html\n")
    assert "24 learner steps" in Path("runs/mine/report.html").read_text()
    assert couplet("report", "runs/mine", "--out", "page.html").stdout == "page.html\n"
    assert Path("page.html").exists()


def test_two_runs(runs: Path) -> None:
    result = couplet("report", "runs/mine", "runs/quickstart")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "compare.html"
    for shown in ("mine", "incomplete", "24/24", "finished", "40/40", "rollout.temperature", "1.0", "1.2"):
        assert shown in result.stdout
    for not_shown in ("decoder", "run.folder", "run.name", "hunter2"):
        assert not_shown not in result.stdout
    assert "Of 200 held-out tasks that both have, quickstart passes 0" in result.stdout.replace("\n", " ")
    page = Path("compare.html").read_text()
    assert "hunter2" not in page
    for shown in ("<code>evaluation/pass_rate</code>", "<code>reward/brevity</code>", "minutes since the start"):
        assert shown in page


def test_a_figure_by_itself(runs: Path) -> None:
    make_run(Path("runs/odd"), name="a <b> & c")
    result = couplet("report", "runs/mine", "runs/odd", "--figure", "reward/mean=reward.svg")
    assert result.stdout.splitlines()[-1] == "reward.svg"
    assert not Path("compare.html").exists()
    figure = ElementTree.parse("reward.svg").getroot()  # well-formed, whatever a run is called
    texts = [text.text for text in figure.iter("{http://www.w3.org/2000/svg}text")]
    assert {"mine", "a <b> & c"} <= set(texts)
    assert len(list(figure.iter("{http://www.w3.org/2000/svg}polyline"))) == 2


@pytest.mark.parametrize(
    ("wish", "complaint"),
    [
        ("reward/mean", "write it as METRIC=FILE"),
        ("reward=r.svg", "no such metric"),
        ("policy/preference_margin=r.svg", "none of the runs has it"),
        ("reward/mean=absent/r.svg", "cannot be written"),
    ],
)
def test_a_figure_that_cannot_be_drawn(runs: Path, wish: str, complaint: str) -> None:
    result = couplet("report", "runs/mine", "--figure", wish)
    assert result.exit_code == 2
    assert complaint in result.stderr
    assert not Path("r.svg").exists()


def test_for_scripts(runs: Path) -> None:
    found = json.loads(couplet("report", "runs/mine", "runs/quickstart", "--json", "--out", "c.html").stdout)
    assert found["page"] == "c.html"
    assert [(run["label"], run["status"], run["steps"]) for run in found["runs"]] == [
        ("mine", "incomplete", 24),
        ("quickstart", "finished", 40),
    ]
    assert found["runs"][0]["pass_rate_after"] > found["runs"][0]["pass_rate_before"]
    assert found["differences"]["rollout.temperature"] == {"mine": "1.0", "quickstart": "1.2"}
    [change] = found["held_out"]
    assert change["shared"] == 200
    assert len(change["lost"]) > 30
    assert change["gained"] == []
    assert change["chance"] < 1e-6


def test_runs_of_one_name(runs: Path) -> None:
    make_run(Path("others/mine"), name="mine")
    found = json.loads(couplet("report", "runs/mine", "others/mine", "runs/quickstart", "--json").stdout)
    assert [run["label"] for run in found["runs"]] == ["runs/mine", "others/mine", "quickstart"]


def test_runs_with_nothing_in_common(runs: Path) -> None:
    other = make_run(Path("runs/other"), name="other")
    for name in ("evaluations.jsonl", "samples.jsonl", "config.yaml"):
        (other / name).unlink()
    (Path("runs/new")).mkdir()
    (Path("runs/new/run.json")).write_text('{"name": "new"}')
    result = couplet("report", "runs/mine", "runs/other", "runs/new")
    assert result.exit_code == 0
    assert "other and mine share no held-out task" in result.stdout
    assert "configurations are the same" not in result.stdout or "rollout.temperature" not in result.stdout
    assert couplet("report", "runs/new").exit_code == 0
    assert couplet("report", "runs/new", "runs/other").exit_code == 0


def test_damaged_runs(runs: Path) -> None:
    bad = make_run(Path("runs/bad"), name="bad")
    (bad / "run.json").write_text("[")
    (bad / "summary.json").write_text('{"status": 3, "seconds": "x"}')
    (bad / "config.yaml").write_text("run: [")
    (bad / "evaluations.jsonl").write_text('{"step": 0, "pass_rate": 0.5, "tasks": "x", "programs": [3]}\n')
    (bad / "metrics.jsonl").write_text(lines([{"step": 1, "reward/mean": None, "time": "x"}]) + "{\n")
    result = couplet("report", "runs/quickstart", "runs/bad")
    assert result.exit_code == 0
    assert "runs/bad: metrics.jsonl: 1 line cannot be read" in result.stdout
    alone = couplet("report", "runs/bad")
    assert alone.exit_code == 0
    assert "run.json is damaged" in alone.stderr


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["nope"], "nope does not exist; give the folder that a run writes"),
        (["runs"], "runs is no run folder; give the folder that a run writes"),
        (["runs/mine", "runs/../runs/mine"], "runs/../runs/mine is given twice"),
        (["runs/mine", "--out", "nowhere/page.html"], "choose another place with --out"),
    ],
)
def test_refusals(runs: Path, words: list[str], shown: str) -> None:
    result = couplet("report", *words)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert shown in result.stderr
    assert result.stdout == ""


def test_too_many_runs(runs: Path) -> None:
    names = [make_run(Path(f"runs/{i}"), steps=1) for i in range(9)]
    assert "9 runs are too many to tell apart" in couplet("report", *names).stderr
    assert not Path("compare.html").exists()


def test_hostile_names_and_programs(runs: Path) -> None:
    for folder, passed in (("runs/mine", True), ("runs/quickstart", False)):
        name = json.dumps({"name": f"</title><script>alert(1)</script>{os.path.basename(folder)}"})
        Path(folder, "run.json").write_text(name)
        program = {"task_id": HOSTILE, "family": HOSTILE, "prompt": "", "completion": HOSTILE, "passed": passed}
        record = {"step": 0, "pass_rate": 0.5, "tasks": 1, "programs": [program]}
        Path(folder, "evaluations.jsonl").write_text(lines([record]))
    result = couplet("report", "runs/mine", "runs/quickstart")
    assert "\x1b" not in result.stdout
    page = Path("compare.html").read_text()
    assert page.count("<script") == 1
    assert "<img" not in page
    assert "\x1b" not in page


def test_one_run_of_a_stage(runs: Path) -> None:
    make_stage_run(Path("runs/adapt"))
    assert couplet("report", "runs/adapt").stdout == "runs/adapt/report.html\n"
    assert "report of adapt" in Path("runs/adapt/report.html").read_text()


def test_two_runs_of_a_stage(runs: Path) -> None:
    make_stage_run(Path("runs/annealed"), name="annealed", final=3.0)
    make_stage_run(Path("runs/scratch"), name="scratch", final=5.0, mfu=False)
    result = couplet("report", "runs/annealed", "runs/scratch")
    assert result.exit_code == 0, result.output
    for shown in ("held-out loss", "6.000 → 3.000", "6.000 → 5.000", "455"):
        assert shown in result.stdout
    assert "pass rate" not in result.stdout
    page = Path("compare.html").read_text()
    for key in ("held_out/loss", "held_out/loss_at_t/0.15", "denoising/loss", "perf/mfu"):
        assert f"<code>{key}</code>" in page
    for of_the_other_kind in ("pass rate", "reward", "Held-out tasks"):
        assert of_the_other_kind not in page


def test_runs_of_two_kinds_are_refused(runs: Path) -> None:
    make_stage_run(Path("runs/adapt"))
    result = couplet("report", "runs/mine", "runs/adapt")
    assert result.exit_code == 2
    assert "runs/adapt is a run of adapt and runs/mine one of reinforcement learning" in result.stderr
