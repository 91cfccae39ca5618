"""`couplet analyze FOLDER [OTHER]`: pages, figures, tables, and what is said to be missing."""

from __future__ import annotations

import csv
import json
import re
import shlex
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import click
import pytest
from click.testing import CliRunner, Result

from orchestrator.commands.main import main
from tests.browser import Browser, open_browser
from tests.evaluation.recorded_evaluations import make_evaluation

_SIZES = pytest.mark.parametrize(("width", "dark"), [(1400, False), (420, True)])
HOSTILE = '<img src=x onerror="document.title=1"></script><script>document.title=2</script>[/b]\uffff'


def analyze(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["analyze", *map(str, arguments)])


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_evaluation(tmp_path_factory.mktemp("evaluations") / "before", skill=0.4)


@pytest.fixture(scope="module")
def after(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_evaluation(tmp_path_factory.mktemp("evaluations") / "after", skill=0.8, order=0.6)


@pytest.fixture(scope="module")
def both(before: Path, after: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The analysis of two folders, and its record."""
    output = tmp_path_factory.mktemp("analysis")
    result = analyze(before, after, "--output", output, "--k", "1,2", "--json")
    assert result.exit_code == 0, result.output
    assert "100%" in result.stderr
    return output, json.loads(result.stdout.splitlines()[-1])


def colours_of(png: Path) -> set[bytes]:
    """The distinct pixels of a picture, read by the rules of the format: it is 8 bits, not interlaced."""
    data = png.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height, depth, kind = struct.unpack(">IIBB", data[16:26])
    assert (depth, kind) == (8, 6)
    assert width > 800
    at, packed = 8, b""
    while at < len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        packed += data[at + 8 : at + 8 + size] if data[at + 4 : at + 8] == b"IDAT" else b""
        at += size + 12
    raw = zlib.decompress(packed)
    assert len(raw) == height * (1 + 4 * width)
    return {raw[at : at + 4] for at in range(1, len(raw), 397 * 4)}


def test_figures_are_there_twice_and_show_something(both: tuple[Path, dict[str, Any]]) -> None:
    output, _ = both
    figures = {path.stem for path in (output / "figures").iterdir()}
    assert {path.stem for path in (output / "figures").glob("*.png")} == figures
    assert {path.stem for path in (output / "figures").glob("*.svg")} == figures
    for name in (
        "pass-rates", "ar-ness-by-temperature", "executed-ar-ness-by-temperature", "global-ar-ness-by-k-1",
        "local-ar-ness-by-k-2", "executed-local-ar-ness-by-k-1", "kendall-tau", "first-passage", "entropy-sink-1",
        "entropy-sink-2", "confidence-spread", "confidence-variance", "denoising-steps", "commit-by-position",
        "program-before", "program-after",
    ):  # fmt: skip
        assert f"sums-plain-{name}" in figures
    for path in (output / "figures").glob("*.svg"):
        root = ElementTree.fromstring(path.read_text())
        assert "var(--" in path.read_text()  # it follows the reader's light or dark mode
        assert not list(root.iter("{http://www.w3.org/2000/svg}script"))
    assert len(colours_of(output / "figures" / "sums-plain-pass-rates.png")) > 3


def test_tables_say_the_same_as_the_record(both: tuple[Path, dict[str, Any]]) -> None:
    output, record = both
    (chapter,) = record["chapters"]
    assert chapter["title"] == "sums, template plain"
    assert record["models"] == ["before", "after"]
    with (output / "tables" / "sums-plain-settings.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(chapter["tables"]["settings"]) == 2 * 9
    for row, told in zip(rows, chapter["tables"]["settings"], strict=True):
        assert (row["model"], float(row["temperature"])) == (told["model"], told["temperature"])
        for name in ("pass@1", "pass@4", "global@2", "executed_local@1", "executed_tau", "first_passage"):
            assert float(row[name]) == pytest.approx(told[name])
            assert float(row[f"{name} low"]) <= told[name] <= float(row[f"{name} high"])
    markdown = (output / "tables" / "sums-plain-temperatures.md").read_text().splitlines()
    lines = [line for line in markdown if line.startswith("|")]
    assert len(lines) == 2 + len(chapter["tables"]["temperatures"]) == 2 + 2 * 2 * 3
    assert len({line.count("|") for line in lines}) == 1
    assert sum(row[""] == "best" for row in chapter["tables"]["temperatures"]) == 4
    steps = chapter["tables"]["steps"]
    changes = [row for row in steps if row["model"] == "after minus before"]
    assert [(row["temperature"], row["steps"]) for row in changes] == [
        (t, s) for t in (0.2, 0.6, 1.0) for s in (8, 4)
    ]
    losses = {(row["model"], row["temperature"], row["steps"]): row["loss"] for row in steps}
    for row in changes:
        one, other = (losses[model, row["temperature"], row["steps"]] for model in ("after", "before"))
        assert row["loss"] == pytest.approx(one - other)
    with (output / "tables" / "sums-plain-first-steps.csv").open() as file:
        first = [row for row in csv.DictReader(file) if (row["model"], row["step"]) == ("after", "2")]
    assert [row["masked"] for row in first] == ["0"] + ["5"] * 15
    assert (first[0]["confidence"], float(first[1]["confidence"])) == ("", pytest.approx(0.9))


@_SIZES
def test_the_page(browser: Browser, both: tuple[Path, dict[str, Any]], width: int, dark: bool) -> None:
    with browser.window(width=width, dark=dark) as window:
        window.open(both[0] / "analysis.html")
        window.wait_for("figure svg polyline")
        charts = "svgs => svgs.filter(svg => svg.getBoundingClientRect().height > 80).length"
        assert window.page.eval_on_selector_all("figure svg", charts) > 15
        # Every figure says how to read it.
        captions = window.page.eval_on_selector_all(
            "figure", "all => all.map(one => one.lastElementChild.textContent)"
        )
        assert min(map(len, captions)) > 60
        # Letters of charts, as wide as they come out.
        size = "texts => Math.min(...texts.map(one => one.getBoundingClientRect().height))"
        assert window.page.eval_on_selector_all("figure svg text.tick", size) >= 9
        assert not window.scrolls_sideways()
        assert window.complaints == []


@_SIZES
def test_a_program_is_played_step_by_step(
    browser: Browser, both: tuple[Path, dict[str, Any]], width: int, dark: bool
) -> None:
    with browser.window(width=width, dark=dark) as window:
        window.open(both[0] / "sums-plain-program.html")
        player = window.wait_for(".player")
        slider, covered = player.locator("input"), player.locator(".canvas .covered")
        tokens = player.locator(".canvas span").count()
        assert (covered.count(), tokens) == (0, 12)
        slider.fill("0")
        assert covered.count() == tokens
        assert player.locator(".squares .covered").count() == 13  # the last position too, and three never were
        slider.fill("1")
        assert covered.count() == tokens  # the last position is the first of all
        assert player.locator(".squares .fresh").count() == 1
        player.get_by_role("button", name="One step on").click()
        assert covered.count() == tokens - 1
        assert player.locator("output").text_content() == "2 of 13"
        slider.fill("10")
        player.get_by_role("button", name="Play").click()
        player.get_by_role("button", name="Pause").wait_for()
        player.get_by_role("button", name="Play").wait_for()  # at the end it stops by itself
        assert covered.count() == 0
        assert not window.scrolls_sideways()
        assert window.complaints == []


def test_the_animation_shows_one_token_after_the_other(
    browser: Browser, both: tuple[Path, dict[str, Any]]
) -> None:
    visible = """at => {
        const drawing = document.documentElement;
        drawing.pauseAnimations();
        drawing.setCurrentTime(at);
        return [...document.querySelectorAll(".token")].filter(one => getComputedStyle(one).opacity > 0).length;
    }"""
    with browser.window() as window:
        window.open(both[0] / "figures" / "sums-plain-program-before.svg")
        shown = [window.page.evaluate(visible, at) for at in (0.0, 1.0, 2.0, 3.9)]
        assert shown[0] == 0
        assert shown == sorted(shown)
        assert len(set(shown)) == 4
        assert window.complaints == []


def test_what_a_model_wrote_does_nothing_on_the_page(browser: Browser, tmp_path: Path) -> None:
    folder = make_evaluation(
        tmp_path / "hostile", temperatures=[0.5], steps=[16], samples=1, model=HOSTILE, task_name=lambda _: HOSTILE
    )
    result = analyze(folder, "--label", HOSTILE)
    assert result.exit_code == 0, result.output
    for page in (folder / "analysis" / "analysis.html", folder / "analysis" / "sums-plain-program.html"):
        with browser.window() as window:
            window.open(page)
            window.wait_for(".player")
            assert window.page.title() not in ("1", "2")
            assert window.page.locator("img").count() == 0
            assert window.complaints == []


@pytest.mark.parametrize(
    ("changes", "gaps"),
    [
        ({"confidence": False}, {"confidences at the first steps were not recorded": "--confidence"}),
        ({"temperatures": [0.4]}, {"one temperature, 0.4": "--temperature"}),
        ({"samples": 1}, {"one sample a task": "--samples 10"}),
        ({"steps": [16]}, {"no samples with 8 or 4 denoising steps": "--denoising-steps 16,8,4"}),
        ({"ended": False}, {"no text ended before its 16 tokens": "--max-tokens 32"}),
        (
            {"causal": True, "confidence": False},
            {"is a causal model": "", "sees no masked positions": "", "a forward pass for each token": ""},
        ),
    ],
)
def test_what_is_missing_is_said_with_the_command_that_supplies_it(
    tmp_path: Path, changes: dict[str, Any], gaps: dict[str, str]
) -> None:
    folder = make_evaluation(tmp_path / "model", **changes)
    result = analyze(folder)
    assert result.exit_code == 0, result.output
    page = (folder / "analysis" / "analysis.html").read_text()
    assert page.count("<figure>") > 3
    compared = (folder / "analysis" / "tables" / "sums-plain-temperatures.csv").exists()
    assert compared == ("temperatures" not in changes)
    lines = [line for line in result.stderr.splitlines() if line.startswith(("missing: ", "  couplet "))]
    assert sum(line.startswith("missing: ") for line in lines) == len(gaps)
    for text, option in gaps.items():
        (place,) = (number for number, line in enumerate(lines) if text in line)
        assert text in page
        if option:
            assert option in lines[place + 1]
            assert_is_a_command(lines[place + 1])


def assert_is_a_command(line: str) -> None:
    """`couplet` takes it, as far as its options go."""
    program, name, *arguments = shlex.split(line)
    assert (program, name) == ("couplet", "evaluate")
    with main.make_context("couplet", ["evaluate"]) as context:
        _, command, _ = main.resolve_command(context, ["evaluate"])
        assert isinstance(command, click.Command)
        command.make_context("evaluate", arguments, parent=context)


def test_a_model_without_its_tokenizer_has_a_program_without_tokens(browser: Browser, tmp_path: Path) -> None:
    folder = make_evaluation(tmp_path / "model", temperatures=[0.4], steps=[16], model=str(tmp_path / "gone"))
    result = analyze(folder, "--task", "task/2")
    assert result.exit_code == 0, result.output
    assert "there is no tokenizer" in result.stderr
    with browser.window(width=420) as window:
        window.open(folder / "analysis" / "sums-plain-program.html")
        assert "task/2" in (window.wait_for(".player").text_content() or "")
        assert window.page.locator(".squares i").count() == 16
        assert window.complaints == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["{tmp}"], "no folder of `couplet evaluate`"),
        (["{before}", "{before}"], "is given twice"),
        (["{before}", "{after}", "--label", "x"], "--label: give 2"),
        (["{before}", "--task", "none"], "--task none: .* task/0"),
        (["{before}", "--k", "0"], "0 is not in the range"),
        (["{before}", "--output", "{before}/settings.json/x"], "cannot be written"),
    ],
)
def test_what_cannot_be_analyzed_is_refused(
    before: Path, after: Path, tmp_path: Path, arguments: list[str], says: str
) -> None:
    result = analyze(*(one.format(tmp=tmp_path, before=before, after=after) for one in arguments))
    assert result.exit_code == 2
    assert re.search(says, " ".join(result.output.split()))


def test_variance_is_still_a_command_of_its_own_and_help_names_both() -> None:
    assert "bias, variance and cost" in analyze("variance", "--help").output
    assert "FOLDER [OTHER]" in analyze("evaluation", "--help").output
    listed = analyze("--help").output
    assert "variance" in listed
    assert "couplet analyze FOLDER" in listed
