"""The display: the numbers are there at every width, and a model's text cannot steer the terminal."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType

from orchestrator.report.display import Display, duration
from orchestrator.report.display_content import STAGE
from orchestrator.report.display_live import LiveDisplay
from orchestrator.report.display_plain import PlainDisplay
from orchestrator.report.open_display import open_display
from orchestrator.report.stage_summary import stage_summary_view
from orchestrator.report.summary import summary_view

WIDTHS = (80, 140)


class Stopwatch:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def terminal(width: int, **settings: Any) -> Console:
    options = {"force_terminal": True, "color_system": None, "legacy_windows": False, **settings}
    return Console(file=io.TextIOWrapper(io.BytesIO(), "utf-8"), width=width, height=30, **options)


def rendered(console: Console, view: RenderableType) -> str:
    with console.capture() as capture:
        console.print(view)
    return capture.get()


def train(display: Display, clock: Stopwatch, steps: int = 10) -> None:
    display.phase("evaluate before training")
    clock.now += 12
    display.evaluation(0, {"evaluation/pass_rate": 0.41}, {"greater than": (12, 60)})
    display.phase("train")
    for step in range(1, steps + 1):
        clock.now += 9
        values = {
            "reward/mean": 1.0 + 0.05 * step,
            "reward/solved": 0.4 + 0.02 * step,
            "policy/kl": 2.5e-4,
        }
        seconds = {"seconds/wait": 4.0, "seconds/update": 2.0, "seconds/weights": math.nan}
        display.step(step, 40, {**values, **seconds, "perf/samples_per_second": 14.2, "other": 1.0})
    display.note("rollout-0 died, restarted [red]\x1b[2J")


@pytest.mark.parametrize("width", WIDTHS)
def test_live_screen_shows_the_numbers_and_fits(width: int) -> None:
    console, clock = terminal(width), Stopwatch()
    display = LiveDisplay(console, clock)
    train(display, clock)
    text = rendered(console, display)
    for shown in (
        "train",
        "10/40",
        "eta 4:30",
        "1:42",
        "1.50",
        "60.0%",
        "41.0%",
        "2.5e-4",
        "14.2",
        "wait 4.0s",
    ):
        assert shown in text
    assert "rollout-0 died, restarted [red]" in text
    assert "\x1b" not in text
    assert any("\u2801" <= c <= "\u28ff" for c in text)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    assert len(text.splitlines()) <= 24


@pytest.mark.parametrize("width", WIDTHS)
def test_plain_lines_fit_and_are_flushed(width: int) -> None:
    raw = io.BytesIO()
    console = Console(file=io.TextIOWrapper(raw, "utf-8"), width=width)
    clock = Stopwatch()
    with PlainDisplay(console, clock) as display:
        train(display, clock)
        text = raw.getvalue().decode()
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert "[0:12] held-out pass rate at step 0: 41.0%" in lines
    assert any("step 10/40" in line and "reward 1.50" in line and "solved 60.0%" in line for line in lines)
    assert "[red]" in lines[-1]
    assert "\x1b" not in text


def adapt(display: Display, clock: Stopwatch, steps: int = 10) -> None:
    """A stage's run; the held-out loss is recorded in another order than that of its ratios."""
    display.phase("evaluate before training")
    clock.now += 12
    losses = {"held_out/loss_at_t/0.85": 7.5, "held_out/loss_at_t/0.15": 2.25}
    display.evaluation(0, {"held_out/loss": 4.875, **losses})
    display.phase("train")
    for step in range(1, steps + 1):
        clock.now += 9
        values = {"denoising/loss": 8.0 - 0.52 * step, "data/epochs": 0.031 * step, "data/tokens": 16384.0 * step}
        seconds = {"seconds/forward_backward": 7.0, "seconds/optimizer": 1.5, "seconds/checkpoint": math.nan}
        speed = {"perf/tokens_per_second": 182044.0, "optim/learning_rate": 3e-4}
        display.step(step, 40, {**values, **seconds, **speed, "other": 1.0})
    display.note("rank 0 died, restarted [red]\x1b[2J")


@pytest.mark.parametrize("width", WIDTHS)
def test_live_screen_of_a_stage_shows_its_numbers_and_fits(width: int) -> None:
    console, clock = terminal(width), Stopwatch()
    display = LiveDisplay(console, clock, STAGE)
    adapt(display, clock)
    text = rendered(console, display)
    for shown in ("10/40", "eta 4:30", "2.80", "0.310", "182K", "164K", "3e-4", "forward and backward 7.0s"):
        assert shown in text
    assert "held-out loss  ◆ held-out 4.88" in text
    assert "t = 0.15: 2.25  t = 0.85: 7.50" in text
    assert "reward" not in text
    assert "rank 0 died, restarted [red]" in text
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= width
    assert len(text.splitlines()) <= 24


@pytest.mark.parametrize("width", WIDTHS)
def test_plain_lines_of_a_stage_fit(width: int) -> None:
    raw = io.BytesIO()
    console, clock = Console(file=io.TextIOWrapper(raw, "utf-8"), width=width), Stopwatch()
    with PlainDisplay(console, clock, STAGE) as display:
        adapt(display, clock)
        lines = raw.getvalue().decode().splitlines()
    assert max(map(len, lines)) <= width
    start = lines.index("[0:12] held-out loss at step 0: 4.88")
    assert lines[start + 1 : start + 3] == ["[0:12]   t = 0.15: 2.25", "[0:12]   t = 0.85: 7.50"]
    (last,) = (line for line in lines if "step 10/40" in line)
    for shown in ("loss 2.80", "tokens/s 182K", "epochs 0.310", "eta 4:30"):
        assert shown in last


@pytest.mark.parametrize("plain", [True, False])
def test_places_are_whole_however_narrow_the_screen(plain: bool) -> None:
    console = terminal(80)
    address = "http://127.0.0.1:9400/metrics; all of the run's: http://127.0.0.1:9400/targets, " + "runs/" * 20
    with open_display(console, plain) as display:
        display.places({"metrics": address, "report": "couplet report [red]\x1b[2J"})
    console.file.flush()
    text = console.file.buffer.getvalue().decode()  # type: ignore[attr-defined]
    assert f"metrics: {address}" in text
    assert "couplet report [red]\N{REPLACEMENT CHARACTER}[2J" in text


def test_a_live_display_draws_and_closes_twice() -> None:
    console = terminal(80)
    with LiveDisplay(console) as display:
        display.phase("train")
        display.step(1, 2, {})
        display.step(2, 2, {"reward/mean": math.nan})
    display.close()
    console.file.flush()
    buffer = console.file.buffer.getvalue().decode()  # type: ignore[attr-defined]
    assert "2/2" in buffer


@pytest.mark.parametrize(
    ("console", "plain", "kind"),
    [
        (lambda: terminal(80), False, LiveDisplay),
        (lambda: terminal(80), True, PlainDisplay),
        (lambda: terminal(80, force_terminal=False), False, PlainDisplay),
        (
            lambda: Console(file=io.TextIOWrapper(io.BytesIO(), "ascii"), force_terminal=True),
            False,
            PlainDisplay,
        ),
    ],
)
def test_open_display_chooses(console: Callable[[], Console], plain: bool, kind: type[Display]) -> None:
    assert type(open_display(console(), plain)) is kind


def program(passed: bool, completion: str, task: str = "synthetic-1") -> dict[str, Any]:
    prompt = "# Return the largest element.\ndef f(xs):\n"
    return {"task_id": task, "family": "lists", "prompt": prompt, "completion": completion, "passed": passed}


def record(step: int, pass_rate: float, programs: list[dict[str, Any]]) -> dict[str, Any]:
    families = {"lists": [int(100 * pass_rate), 100], "[bold]text": [50, 100]}
    return {"step": step, "pass_rate": pass_rate, "tasks": 200, "by_family": families, "programs": programs}


@pytest.mark.parametrize("width", WIDTHS)
def test_summary_shows_before_and_after(width: int) -> None:
    before = record(0, 0.47, [program(False, "    return min(xs)\n")])
    after = record(40, 0.72, [program(True, "    return max(xs)\n\x1b]0;owned\x07\nprint(1)\n")])
    summary = {
        "status": "finished",
        "updates": 40,
        "samples": 2560,
        "seconds": {"total": 412.0, "train": 360.0},
    }
    text = rendered(terminal(width), summary_view(before, after, summary, Path("runs/x/report.html")))
    for shown in (
        "47.0% → 72.0%",
        "+25.0 points",
        "return min(xs)",
        "return max(xs)",
        "6:52",
        "runs/x/report.html",
    ):
        assert shown in text
    assert "[bold]text" in text
    assert "\x1b" not in text
    assert "print(1)" not in text
    assert max(map(len, text.splitlines())) <= width


@pytest.mark.parametrize("before", [{}, record(0, 0.47, [])])
def test_summary_of_an_interrupted_run(before: dict[str, Any]) -> None:
    text = rendered(terminal(80), summary_view(before, {}, {"status": "interrupted"}, Path("report.html")))
    assert "interrupted" in text
    assert "evaluation" in text


def test_duration() -> None:
    assert [duration(s) for s in (0, 61, 3661)] == ["0:00", "1:01", "1:01:01"]


@pytest.mark.parametrize("width", WIDTHS)
def test_summary_of_a_stage_shows_the_losses_the_model_and_what_comes_next(width: int) -> None:
    before = {"step": 0, "held_out/loss": 5.0, "held_out/loss_at_t/0.15": 2.0, "held_out/loss_at_t/0.85": 8.0}
    after = {"step": 40, "held_out/loss": 3.5, "held_out/loss_at_t/0.15": 2.5, "held_out/loss_at_t/0.85": 4.5}
    seconds = {"total": 412.0, "train": 360.0}
    counts = {"updates": 40, "tokens": 655_360, "epochs": 1.25, "tokens_per_second": 1820.0}
    summary = {"status": "finished", **counts, "seconds": seconds, "model": "runs/x/model"}
    command = "couplet pretrain RECIPE model.path=runs/x/model"
    view = stage_summary_view("adapt", before, after, summary, Path("runs/x/report.html"))
    text = rendered(terminal(width), view)
    named = stage_summary_view("adapt", before, after, summary, Path("report.html"), "mine/pretrain.yaml")
    assert "couplet pretrain mine/pretrain.yaml model.path=runs/x/model" in rendered(terminal(100), named)
    figures = ("5 → 3.50", "-1.5 nats", "+0.500", "-3.500", "655K tokens", "1.25 epochs", "6:52", "1.82K tokens/s")
    for shown in (*figures, "runs/x/model", "runs/x/report.html", command):
        assert shown in text
    assert max(map(len, text.splitlines())) <= width


@pytest.mark.parametrize("before", [{}, {"step": 0, "held_out/loss": 5.0, "held_out/loss_at_t/0.5": 5.0}])
def test_summary_of_an_interrupted_stage(before: dict[str, Any]) -> None:
    view = stage_summary_view("sft", before, {}, {"status": "interrupted"}, Path("report.html"))
    text = rendered(terminal(80), view)
    assert "interrupted" in text
    assert "evaluation" in text
    assert "next" not in text
