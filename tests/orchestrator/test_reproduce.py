"""``couplet reproduce``: jobs in processes that may be stopped at any moment, and what it shows of them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from evaluation.reproduction.claims import all_jobs, find_claims
from evaluation.reproduction.jobs import Enumeration, Job, Probe, Training
from evaluation.reproduction.results import Result, ResultFolder
from orchestrator.commands.main import main
from orchestrator.commands.recipes import shipped_recipe
from orchestrator.reproduction.report import sections, write_report
from orchestrator.reproduction.workers import JobFailedError, Task, do_tasks
from tests.browser import Browser, open_browser

TINY = ("run.steps=2", "learner.groups_per_step=1", "data.train_tasks=10", "data.held_out_tasks=2")


class StoppedError(Exception):
    """What ends a reproduction from outside."""


def stamps(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mtime_ns for file in (folder / "results").iterdir()}


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    output = tmp_path / "out"
    arm = Training("tiny", "tiny", TINY, keep=True)
    probe = Probe(arm, 0.4, 7, tasks=2, samples=2)
    tasks = [Task(probe, 0), Task(arm, 0), *(Task(Enumeration(), seed) for seed in range(5))]
    told: list[Task] = []

    def stop() -> None:
        if len(told) == 4:
            raise StoppedError

    folder = ResultFolder(output)
    with folder.locked(), pytest.raises(StoppedError):
        do_tasks(tasks, output, shipped_recipe("quickstart"), 1, told.append, stop)
    assert told[:2] == [Task(arm, 0), Task(probe, 0)], "a probe waits for the weights that it reads"
    found, trained = folder.read(probe, 0), folder.read(arm, 0)
    assert found is not None
    assert trained is not None
    assert 0.0 <= found.figures["pass_1"] <= found.figures["pass_all"] <= 1.0
    assert (trained.figures["updates"], trained.figures["samples"]) == (4, 16)
    assert [point["step"] for point in trained.curve] == [1, 2]
    first = {name: stamp for name, stamp in stamps(output).items() if name.startswith("enumeration")}
    assert 2 <= len(first) < 5

    command = ["reproduce", "variance", "--seeds", "5", "--jobs", "1", "--output", str(output)]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    assert "[5/5] enumeration, seed 4" in done.stderr
    assert "enumeration, seed 0" not in done.stderr
    after = stamps(output)
    assert len([name for name in after if name.startswith("enumeration")]) == 5
    assert {name: after[name] for name in first} == first
    assert "not reproduced" not in done.stdout
    assert (output / "report.md").read_text().count("**reproduced**: p = 0.031") == 2

    again = CliRunner().invoke(main, command)
    assert again.exit_code == 0, again.output
    assert stamps(output) == after
    assert "enumeration" not in again.stderr


def test_a_job_that_fails_ends_it_with_the_end_of_its_log(tmp_path: Path) -> None:
    job = Training("broken", "broken", ("model.path=nowhere",))
    folder = ResultFolder(tmp_path / "out")
    with folder.locked(), pytest.raises(JobFailedError, match=r"(?s)broken, seed 0 failed; .*nowhere"):
        do_tasks([Task(job, 0)], tmp_path / "out", shipped_recipe("quickstart"), 1, lambda task: None)
    assert folder.read(job, 0) is None


def test_bad_input_is_one_error(tmp_path: Path) -> None:
    unknown = CliRunner().invoke(main, ["reproduce", "speed", "--output", str(tmp_path / "out")])
    assert unknown.exit_code == 2
    assert "claim speed: there is none of this name" in unknown.stderr
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("")
    blocked = CliRunner().invoke(main, ["reproduce", "variance", "--output", str(tmp_path / "file" / "out")])
    assert blocked.exit_code == 2
    assert "cannot be written" in blocked.stderr


def test_claims_are_listed_with_their_rules() -> None:
    done = CliRunner().invoke(main, ["reproduce", "--list"], env={"COLUMNS": "200"})
    assert done.exit_code == 0
    for word in ("variance", "estimators", "compute", "lambda", "temperature", "presets", "order", "sign-flip"):
        assert word in done.stdout


def made_up(job: Job, seed: int) -> Result:
    """A result with all figures that some claim asks for."""
    draw = random.Random(f"{job.name} {seed}")
    names = ("held_out", "solved_end", "pass_1", "pass_all", "global_ar_ness", "estimator_variance")
    names += tuple(
        f"{kind}_1_pair_{level}" for kind in ("coupled", "decoupled") for level in ("token", "sequence")
    )
    figures = {name: draw.uniform(0.3, 0.9) for name in names} | {"updates": 24.0, "samples": 576.0, "tokens": 1e6}
    curve = [
        {"updates": 2.0 * step, "tokens": 1e5 * step, "solved": 0.03 * step + draw.uniform(0.3, 0.5)}
        for step in range(1, 13)
    ]
    return Result(
        job=job.name,
        seed=seed,
        overrides=job.overrides(seed),
        commit="0123456789",
        seconds=30.0,
        figures=figures,
        curve=tuple(curve) if isinstance(job, Training) else (),
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    claims = find_claims(())
    results = {job.name: {seed: made_up(job, seed) for seed in range(5)} for job in all_jobs(claims)}
    return write_report(tmp_path_factory.mktemp("report"), sections(claims, results), {"written": "today"})


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.mark.parametrize(("width", "dark"), [(1400, False), (420, True)])
def test_the_page(browser: Browser, page: Path, width: int, dark: bool) -> None:
    with browser.window(width=width, dark=dark) as window:
        window.open(page)
        window.wait_for("text=Not testable here")
        assert window.complaints == []
        assert not window.scrolls_sideways()
        assert window.page.locator("article .badge").count() == sum(len(c.statements) for c in find_claims(()))
        assert window.page.locator("figure svg polyline").count() >= 14
        assert window.page.locator("h2 .badge").count() == len(find_claims(()))


def test_every_chart_is_a_picture_of_its_own(page: Path) -> None:
    for kind in ("svg", "png"):
        figures = {file.stem for file in (page.parent / "figures").glob(f"*.{kind}")}
        assert {"estimators-by-updates", "compute-by-tokens", "presets-2-by-updates"} <= figures


def test_a_report_of_nothing_is_one_error(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = CliRunner().invoke(main, ["reproduce", "variance", "--report-only", "--output", str(out)])
    assert done.exit_code == 2
    assert f"--output {out}: holds no results of these claims yet" in done.stderr
    assert not out.exists()
