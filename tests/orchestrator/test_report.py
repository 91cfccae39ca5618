"""The report: complete, safe with hostile completions, and there for interrupted runs too."""

from __future__ import annotations

import json
import math
import random
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from orchestrator.charts import Series, braille, labels, line_chart, short, stacked_bars, thin, ticks
from orchestrator.report import changed, clean, families, interval, program, write_report

HOSTILE = "    return x\n    # </script></pre><img src=http://evil.example/x onerror=alert(1)>{{7*7}}\x1b[2J"
FAMILIES = ("greater than", "last element", "sum of squares", "vowels")


def metric(step: int, steps: int) -> dict[str, Any]:
    noise, share = random.Random(step), step / steps
    solved = 0.42 + 0.4 * (1 - math.exp(-3 * share)) + noise.gauss(0, 0.035)
    return {
        "step": step,
        "time": 1.7e9 + 9 * step,
        "reward/mean": 2 * solved + 0.46,
        "reward/std": 0.7 - 0.3 * share + noise.gauss(0, 0.03),
        "reward/tests": 2 * solved,
        "reward/format": min(0.5, 0.45 + noise.gauss(0, 0.01) + 0.04 * share),
        "reward/pass_rate": solved - 0.06,
        "groups/zero_variance": noise.randint(0, 2 + round(3 * share)),
        "groups/trained": 8,
        "policy/loss": noise.gauss(0, 0.02),
        "policy/kl": 0.0001 * math.exp(2.5 * share) + abs(noise.gauss(0, 0.0001)),
        "policy/ratio_mean": 1 + noise.gauss(0, 0.004),
        "policy/clip_fraction": abs(noise.gauss(0.01, 0.004)),
        "optim/grad_norm": 0.3 + abs(noise.gauss(0, 0.1)),
        "optim/learning_rate": 1e-4 * (0.55 + 0.45 * math.cos(math.pi * share)),
        "staleness/mean": noise.random(),
        "staleness/max": noise.randint(1, 2),
        "response/length_mean": 24 + noise.gauss(0, 1),
        "diffusion/ar_ness_local": 0.6 + 0.1 * share + noise.gauss(0, 0.01),
        "diffusion/ar_ness_global": 0.7 + 0.05 * share + noise.gauss(0, 0.01),
        "diffusion/ar_ness_local_at_4": 0.4 + 0.1 * share + noise.gauss(0, 0.01),
        "diffusion/ar_ness_global_at_4": 0.8 + 0.05 * share + noise.gauss(0, 0.01),
        "diffusion/steps": 14 - 2 * share + noise.gauss(0, 0.1),
        "diffusion/tokens_per_forward": 1.6 + 0.2 * share + noise.gauss(0, 0.02),
        "diffusion/surprisal": 0.5 - 0.2 * share + noise.gauss(0, 0.02),
        "diffusion/approximate": 0.0,
        "perf/samples_per_second": 14 + noise.gauss(0, 1),
        "seconds/step": 9.0,
        "seconds/rollout": 4 + noise.gauss(0, 0.3),
        "seconds/reward": 1 + noise.gauss(0, 0.1),
        "seconds/update": 3 + noise.gauss(0, 0.2),
        "seconds/weights": 0.2,
        "seconds/wait": abs(noise.gauss(0.4, 0.2)),
        "restarts": 0,
        "something/new": "text",
    }


def evaluation(step: int, solved: float) -> dict[str, Any]:
    programs, by_family = [], {}
    for number, family in enumerate(FAMILIES):
        passed = [random.Random(f"{number} {i}").random() < solved + 0.05 * number for i in range(50)]
        by_family[family] = [sum(passed), 50]
        for i, ok in enumerate(passed):
            right = "sum(x * x for x in xs if x > 3)"
            programs.append(
                {
                    "task_id": f"synthetic-{number}{i:03d}",
                    "family": family,
                    "prompt": "# Return the sum of the squares of the elements above 3.\ndef f(xs):\n",
                    "completion": f"    return {right if ok else 'sum(x for x in xs)'}\n",
                    "passed": ok,
                }
            )
    total = sum(passed for passed, _ in by_family.values())
    return {
        "step": step,
        "pass_rate": total / 200,
        "tasks": 200,
        "by_family": by_family,
        "programs": programs,
    }


def lines(records: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def make_run(folder: Path, steps: int = 40) -> Path:
    """The folder of a finished run whose reward rises."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(
        "run:\n  name: quickstart\nstreams:\n  url: redis://:hunter2@redis:6379/0\n"
    )
    run = {
        "run_id": "r-1",
        "name": "quickstart",
        "started": "2025-01-01T10:00:00",
        "versions": {"torch": "2.13"},
    }
    (folder / "run.json").write_text(json.dumps(run))
    (folder / "metrics.jsonl").write_text(lines([metric(step, steps) for step in range(1, steps + 1)]))
    scores = ((0, 0.4), (steps // 2, 0.55), (steps, 0.68))
    (folder / "evaluations.jsonl").write_text(lines([evaluation(step, solved) for step, solved in scores]))
    samples = [
        {
            "step": step,
            "task_id": f"synthetic-{step}",
            "family": "vowels",
            "prompt": "# Return x.\ndef f(x):\n",
            "completion": HOSTILE if step % 2 else "    return sorted(x)[-1]  # the 'largest'\n",
            "reward": 1.5,
            "components": {"tests": 1.0, "format": 0.5},
            "verdicts": ["passed", "failed", "timeout", "infra"],
        }
        for step in range(1, steps + 1)
        for _ in range(2)
    ]
    (folder / "samples.jsonl").write_text(lines(samples))
    seconds = {"total": 412.0, "start": 12.0, "evaluate": 40.0, "train": 360.0}
    summary = {"status": "finished", "updates": steps, "seconds": seconds, "samples": 2560}
    (folder / "summary.json").write_text(json.dumps({**summary, "samples_per_second": 14.2}))
    return folder


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
    for shown in ("quickstart", "finished", "Held-out tasks by family", "sum of squares", "6 min 52 s"):
        assert shown in text
    assert "newly passed" in text
    assert "hunter2" not in text


@pytest.mark.parametrize(
    ("title", "curves"),
    [
        ("Local AR-ness", ["k = 1", "k = 4"]),
        ("Global AR-ness", ["k = 1", "k = 4"]),
        ("Denoising steps", []),
        ("Tokens per forward pass", []),
        ("Surprisal", []),
    ],
)
def test_the_denoising_charts_are_drawn(tmp_path: Path, title: str, curves: list[str]) -> None:
    text = write_report(make_run(tmp_path / "run")).read_text()
    figure = next(part for part in text.split("<figure") if f"<b>{title}</b>" in part).partition("</figure>")[0]
    assert "<svg" in figure
    assert all(f"{curve}, smoothed" in figure for curve in curves)


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
    assert page.links == []
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
    assert "nothing can be said about held-out improvement" in text


def test_a_folder_with_nothing(tmp_path: Path) -> None:
    Page(write_report(tmp_path).read_text())


def test_records_of_a_resumed_run_replace_the_earlier_ones(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    again = [metric(step, 40) for step in range(31, 41)]
    with (run / "metrics.jsonl").open("a") as file:
        file.write(lines(again))
    assert "after 40 learner steps" in write_report(run).read_text()


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
    assert len(clean("x" * 100_000)) < 4100


def test_interval_is_wilsons() -> None:
    low, high = interval(0.5, 200)
    assert (round(low, 3), round(high, 3)) == (0.431, 0.569)
    assert interval(0.0, 0)[0] == 0.0


def test_ticks_are_round_and_cover_the_range() -> None:
    assert ticks(0, 1) == [0, 0.25, 0.5, 0.75, 1.0]
    assert labels(ticks(0.31, 1.2)) == ["0.25", "0.50", "0.75", "1.00", "1.25"]
    assert labels(ticks(0, 4e-5))[1] == "1e-5"
    for low, high in ((0, 0), (3, 3), (-2, 5), (1e-9, 2e-9), (0, 123456)):
        values = ticks(low, high)
        assert values[0] <= low
        assert values[-1] >= high
        assert 2 <= len(values) <= 8


def test_numbers_are_short() -> None:
    assert [short(v) for v in (0, 0.5, 12.345, 1234.5, 2e-4, 1e6)] == [
        "0",
        "0.500",
        "12.3",
        "1234",
        "2e-4",
        "1e6",
    ]


def test_charts_of_nothing_are_empty() -> None:
    assert line_chart([Series("a", [(1, math.nan)])], title="x") == ""
    assert stacked_bars([Series("a", [])], title="x", unit="s") == ""


def test_long_runs_are_thinned() -> None:
    points = [(float(i), 1.0) for i in range(10_000)]
    assert len(thin(points)) <= 300
    chart = stacked_bars([Series("a", points), Series("b", points[5:9])], title="x", unit="s")
    assert chart.count("data-tip") <= 300


def test_braille_draws_a_diagonal() -> None:
    rows = braille([(0, 0), (1, 1)], (0, 1), (0, 1), width=4, height=2)
    assert [len(row) for row in rows] == [4, 4]
    assert rows[0][:1] == " "
    assert rows[0][-1] != " "
    assert rows[1][0] != " "
