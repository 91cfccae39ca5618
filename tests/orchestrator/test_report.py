"""The report: complete, safe with hostile completions, and there for interrupted runs too."""

from __future__ import annotations

import fcntl
import io
import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from common.metrics.registry import find
from common.metrics.step import STEP_METRICS
from orchestrator.report.panels import DIFFUSION, LEARNING, POLICY, SYSTEM
from orchestrator.report.recorded_run import read_run
from orchestrator.report.report_page import write_report
from orchestrator.report.summary import summary_view
from orchestrator.report.text import clean, program
from orchestrator.report.verdicts import changed, families, interval
from tests.orchestrator.recorded_runs import FAMILIES, HOSTILE, evaluation, lines, make_run, metric


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a finished run."""
    return write_report(make_run(tmp_path_factory.mktemp("finished"))).read_text()


class Page(HTMLParser):
    """Tags and links of a page; fails where a tag is closed that was not open."""

    VOID = frozenset({"meta", "input", "img", "br", "link"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.links: list[str] = []
        self.handlers: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in {"src", "href", "action", "data"}]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_finished_run(tmp_path: Path) -> None:
    path = write_report(make_run(tmp_path / "run"))
    text = path.read_text()
    page = Page(text)
    assert path.name == "report.html"
    assert [p.name for p in path.parent.glob(".report*")] == []
    assert page.tags.count("svg") > 16
    for shown in ("quickstart", "finished", "Held-out tasks", "sum of squares", "6 min 52 s"):
        assert shown in text
    assert "newly passed" in text
    assert "hunter2" not in text


def figure(text: str, title: str) -> str:
    return next(part for part in text.split("<figure") if f"<b>{title}</b>" in part).partition("</figure>")[0]


@pytest.mark.parametrize(
    ("title", "keys"),
    [
        ("Reward", ["reward/mean"]),
        ("Reward: tests", ["reward/tests"]),
        ("Reward: brevity", ["reward/brevity"]),
        ("Pass rate", ["evaluation/pass_rate", "reward/solved"]),
        ("Groups that teach nothing", ["groups/zero_variance"]),
        ("Local AR-ness", ["diffusion/ar_ness_local", "diffusion/ar_ness_local_at_4"]),
        ("Global AR-ness", ["diffusion/ar_ness_global", "diffusion/ar_ness_global_at_4"]),
        ("Local AR-ness of all commits", [f"diffusion/executed_ar_ness_local{at}" for at in ("", "_at_4")]),
        ("Global AR-ness of all commits", [f"diffusion/executed_ar_ness_global{at}" for at in ("", "_at_4")]),
        ("Decoding order", ["diffusion/order/*"]),
        ("Staleness", ["staleness/mean", "staleness/max"]),
        ("Throughput", ["perf/samples_per_second"]),
        ("Where the time goes", ["seconds/wait", "seconds/update", "seconds/weights"]),
    ],
)
def test_charts_are_drawn(finished: str, title: str, keys: list[str]) -> None:
    found = figure(finished, title)
    assert "<svg" in found
    assert all(f"<code>{key}</code>" in found for key in keys)


def test_quantiles_are_a_band_where_they_are_recorded(finished: str) -> None:
    assert "<polygon" in figure(finished, "Reward")
    assert "<polygon" in figure(finished, "Reward: tests")
    assert "<polygon" not in figure(finished, "Reward: format")


def test_what_a_chart_means_is_what_the_registry_says(finished: str) -> None:
    assert f"{find('policy/kl')[0].help}</li>" in figure(finished, "KL to the reference")


def test_every_metric_of_a_step_has_a_chart() -> None:
    drawn = {key for group in (LEARNING, DIFFUSION, POLICY, SYSTEM) for panel in group for key in panel.keys}
    elsewhere = {"reward/mean", "reward/solved", "evaluation/pass_rate", "seconds/wait", "seconds/update"}
    elsewhere |= {"seconds/weights", "seconds/checkpoint", "seconds/switch"}
    assert {m.key for m in STEP_METRICS if not m.labels} - drawn - elsewhere == set()


def test_what_never_changes_is_a_line_in_a_table(finished: str) -> None:
    assert "<b>Restarts</b>" not in finished
    assert "<td><code>restarts</code></td><td>0</td>" in finished


@pytest.mark.parametrize(
    ("held", "summary", "status"),
    [(True, False, "running"), (False, False, "incomplete"), (True, True, "finished")],
)
def test_status(tmp_path: Path, held: bool, summary: bool, status: str) -> None:
    run = make_run(tmp_path / "run", steps=3)
    if not summary:
        (run / "summary.json").unlink()
    with (run / "lock").open("w") as lock:
        if held:
            fcntl.flock(lock, fcntl.LOCK_EX)
        assert read_run(run).status == status
        assert f">{status}</span>" in write_report(run).read_text()


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    name = "</title><script>alert(1)</script>"
    (run / "run.json").write_text(json.dumps({"name": name, "versions": {name: name}}))
    (run / "evaluations.jsonl").write_text(
        lines([{"step": 0, "pass_rate": 0.5, "tasks": 2, "by_family": {HOSTILE: [1, 2]}, "programs": []}])
    )
    text = write_report(run).read_text()
    page = Page(text)
    assert page.tags.count("script") == 1
    assert "img" not in page.tags
    assert [link for link in page.links if not link.startswith("#")] == []
    assert page.handlers == []
    assert text.count("{{7*7}}") > 20
    assert "\x1b" not in text


def test_an_interrupted_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / "summary.json").unlink()
    (run / "samples.jsonl").unlink()
    for name in ("metrics.jsonl", "evaluations.jsonl"):
        whole = (run / name).read_text()
        (run / name).write_text(whole.splitlines()[0] + "\n" + whole.splitlines()[1][:30])
    text = write_report(run).read_text()
    Page(text)
    assert "incomplete" in text
    assert "cannot be read" not in text  # a torn last line is how a killed run ends
    assert "nothing can be said about held-out improvement" in text


def test_a_folder_with_nothing(tmp_path: Path) -> None:
    Page(write_report(tmp_path).read_text())


def test_records_of_a_resumed_run_replace_the_earlier_ones(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    again = [metric(step, 40) for step in range(31, 41)]
    with (run / "metrics.jsonl").open("a") as file:
        file.write(lines(again))
    assert "after 40 learner steps" in write_report(run).read_text()


def test_damage_is_told(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", steps=3)
    (run / "run.json").write_text("{")
    (run / "config.yaml").write_text("a: [")
    (run / "metrics.jsonl").write_text('{"step": 1, "reward/mean": 1}\n{"st\n{"step": 2}\n')
    text = write_report(run).read_text()
    for told in ("metrics.jsonl: 1 line cannot be read", "config.yaml is damaged", "run.json is damaged"):
        assert told in text


def test_odd_values_do_not_break_it(tmp_path: Path) -> None:
    records = [{"step": i, "reward/mean": float("nan"), "policy/kl": None, "seconds/wait": "x"} for i in range(20)]
    (tmp_path / "metrics.jsonl").write_text(lines(records))
    (tmp_path / "samples.jsonl").write_text('{"step": 1, "completion": "\\ud800", "components": 3}\n[1]\n')
    (tmp_path / "summary.json").write_text('{"status": "failed", "seconds": 3}')
    Page(write_report(tmp_path).read_text())


@pytest.mark.parametrize(
    ("prompt", "completion", "shown"),
    [
        ("def f(x):\n", "    return x\n\n", "def f(x):\n    return x"),
        ("def f(x):\n", "    return x\nprint(f(1))\n", "def f(x):\n    return x\n# … 1 more line"),
        ("Sort a list.", "Sure:\n```python\nxs.sort()\n```\nDone.", "xs.sort()"),
        ("x = 1\n", "y = 2\n", "x = 1\ny = 2"),
    ],
)
def test_a_program_stops_where_its_code_ends(prompt: str, completion: str, shown: str) -> None:
    assert program({"prompt": prompt, "completion": completion}) == shown


def test_changed_programs_take_turns_by_family() -> None:
    old, new = evaluation(0, 0.3), evaluation(9, 0.8)
    pairs = changed(old, new, passes=True)
    assert [after["family"] for _, after in pairs[:4]] == sorted(FAMILIES)
    assert all(not before["passed"] and after["passed"] for before, after in pairs)
    assert changed(old, {}, passes=True) == []


def test_families_without_an_evaluation_after() -> None:
    assert families({"by_family": {"a": [1, 2], "b": [1, 4], "c": [0, 0]}}, {"by_family": {"a": [2, 2]}}) == [
        ("b", 4, 0.25, None),
        ("a", 2, 0.5, 1.0),
    ]


def test_clean_is_visible_and_bounded() -> None:
    assert clean("a\x1b[31m\u202eb\tc\n") == "a\ufffd[31m\ufffdb\tc\n"
    assert clean("\ufffe\uffff\ud800") == "\ufffd" * 3
    assert len(clean("x" * 100_000)) < 4100


def test_interval_is_wilsons() -> None:
    low, high = interval(0.5, 200)
    assert (round(low, 3), round(high, 3)) == (0.431, 0.569)
    assert interval(0.0, 0)[0] == 0.0


def test_what_happened_is_told_in_words(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    assert "<h2" in write_report(run).read_text()
    assert 'id="notes"' not in write_report(run).read_text()
    many = [{"time": 1.7e9 + number, "text": f"note {number} of many"} for number in range(300)]
    lost = {"time": 1.7e9, "text": "a group is lost: judge raised KeyError: '<script>'\nsecond line"}
    (run / "notes.jsonl").write_text("".join(json.dumps(note) + "\n" for note in [lost, *many]) + '{"torn')
    text = write_report(run).read_text()
    Page(text)
    assert "judge raised KeyError: &#39;&lt;script&gt;&#39; second line" in text
    assert [f"note {number} of many" in text for number in (5, 150, 299)] == [True, False, True]
    assert "102 in the middle are left out" in text


def test_the_first_notes_stand_at_the_end_of_the_run_in_the_terminal(tmp_path: Path) -> None:
    console = Console(record=True, width=80, file=io.StringIO())
    notes = {"count": 7, "first": [f"a group is lost: reason {number} \x1b[2J" for number in range(5)]}
    console.print(summary_view({}, {}, {"status": "failed", "notes": notes}, tmp_path / "report.html"))
    text = console.export_text()
    assert "a group is lost: reason 4" in text
    assert "2 more in the report" in text
    assert "\x1b" not in text
