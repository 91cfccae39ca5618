"""The pages of a run and of a comparison in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.report.compare import compare
from orchestrator.report.compare_page import write_comparison
from orchestrator.report.report_page import write_report
from tests.browser import Browser, Window, open_browser
from tests.orchestrator.recorded_runs import make_run, make_stage_run

_SIZES = pytest.mark.parametrize(("width", "dark"), [(1400, False), (400, True)])


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(make_run(tmp_path_factory.mktemp("run"), steps=12))


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compare")
    runs = [make_run(folder / name, steps=n, name=name, gain=g) for name, n, g in (("a", 12, 0.2), ("b", 20, 0.5))]
    return write_comparison(compare(runs), folder / "compare.html")


def luminance(window: Window) -> float:
    """Of the page's background, 0 to 255."""
    colour = window.page.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")) / 3


def shown_charts(window: Window) -> int:
    """How many charts are visible and have a size."""
    script = "svgs => svgs.filter(svg => svg.getBoundingClientRect().height > 80).length"
    return int(window.page.eval_on_selector_all("figure svg", script))


def shown_step(window: Window) -> str:
    """The step whose programs are shown."""
    [step] = window.page.eval_on_selector_all(
        "#samples .step", "steps => steps.filter(step => step.offsetHeight).map(step => step.dataset.step)"
    )
    return str(step)


@_SIZES
def test_the_report(browser: Browser, report: Path, width: int, dark: bool) -> None:
    with browser.window(width=width, dark=dark) as window:
        window.open(report)
        window.wait_for("figure svg polyline")
        assert shown_charts(window) > 20
        assert (luminance(window) < 60) is dark
        assert not window.scrolls_sideways()
        assert window.complaints == []


@pytest.mark.parametrize(("width", "dark"), [(1400, False), (420, True)])
def test_the_report_of_a_stage(browser: Browser, width: int, dark: bool, tmp_path: Path) -> None:
    with browser.window(width=width, dark=dark) as window:
        window.open(write_report(make_stage_run(tmp_path / "run", steps=12)))
        window.wait_for("figure svg polyline")
        assert shown_charts(window) > 10
        assert (luminance(window) < 60) is dark
        assert not window.scrolls_sideways()
        assert window.complaints == []


def test_programs_are_picked_by_step_and_hostile_ones_do_nothing(browser: Browser, report: Path) -> None:
    with browser.window() as window:
        page = window.page
        page.add_init_script("window.alert = () => { window.owned = true; };")
        window.open(report)
        later, earlier = '#samples button[data-move="1"]', '#samples button[data-move="-1"]'
        assert shown_step(window) == "12"
        page.click(later)
        page.click(earlier)
        assert shown_step(window) == "11"
        shown = page.locator("#samples .step:not([hidden])")
        assert "</script></pre><img" in shown.inner_text()
        page.fill("#samples input", "0")
        assert shown_step(window) == page.inner_text("#samples output") == "1"
        verdicts = shown.locator("article").first.locator(".verdicts li").all_inner_texts()
        assert verdicts == ["passed", "failed", "timeout", "infra"]
        assert window.complaints == []

        assert page.evaluate("[window.owned === undefined, document.images.length]") == [True, 0]
        # Markup that got past the escaping would be stopped by the page's policy.
        page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=alert(1)>')")
        page.wait_for_function("document.images.length === 1")
        assert page.evaluate("window.owned === undefined")
        assert window.complaints != []
        assert all("Content Security Policy" in text or "csp" in text for text in window.complaints)


def test_pointing_at_a_chart_shows_its_numbers(browser: Browser, report: Path) -> None:
    with browser.window() as window:
        window.open(report)
        window.page.hover('figure:has(svg[aria-label="Reward"]) .hit:nth-of-type(6)')
        assert window.wait_for("#tip").inner_text().startswith("step 6\n")


@_SIZES
def test_the_comparison(browser: Browser, comparison: Path, width: int, dark: bool) -> None:
    with browser.window(width=width, dark=dark) as window:
        window.open(comparison)
        by_step = shown_charts(window)
        assert by_step > 20
        window.page.click('button[data-axis="time"]')
        assert shown_charts(window) == by_step
        assert window.page.eval_on_selector_all("[data-by=step]", "all => all.every(one => one.hidden)")
        window.page.click("details.task >> nth=0 >> summary")
        window.wait_for("details.task pre")
        assert (luminance(window) < 60) is dark
        assert not window.scrolls_sideways()
        assert window.complaints == []
