"""The records of a file that grows: as a plain loop reads them, and each parsed once."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from orchestrator.report.charts import smooth
from orchestrator.report.growing_lines import GrowingLines
from orchestrator.report.live_report import LiveReport
from orchestrator.report.recorded_run import RunReader, read_run
from tests.orchestrator.recorded_runs import make_run


def plain(path: Path) -> list[Any]:
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            value = json.loads(line)
        except ValueError:
            continue
        found += [value] if isinstance(value, dict) else []
    return found


@pytest.mark.parametrize("seed", range(5))
def test_a_growing_file_is_read_as_a_plain_loop_reads_it(tmp_path: Path, seed: int) -> None:
    draw, path = random.Random(seed), tmp_path / "metrics.jsonl"
    file, step = GrowingLines(path), 0
    assert file.read() == []
    for _ in range(200):
        kind = draw.random()
        if kind < 0.05 and path.exists():  # as a resumed run rewinds
            kept = plain(path)[: draw.randint(0, 5)]
            path.with_suffix(".tmp").write_text("".join(json.dumps(record) + "\n" for record in kept))
            path.with_suffix(".tmp").replace(path)
        else:
            step += 1
            text = "é" * draw.randint(0, 5)
            whole = json.dumps({"step": step, "text": text}, ensure_ascii=False).encode() + b"\n"
            parts = [b"not JSON\n", b"[1]\n", b"{}\n", b"\xff\n", b"\n"] if kind < 0.3 else [whole]
            line = draw.choice(parts)
            with path.open("ab") as out:
                out.write(line[: draw.randint(1, len(line))] if kind > 0.9 else line)
        assert list(file.read()) == plain(path)


def test_what_was_read_is_not_read_again(tmp_path: Path) -> None:
    """Its bytes are spoiled in place; what was parsed of them stays."""
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": step}) + "\n" for step in range(1, 101)))
    file = GrowingLines(path)
    before = list(file.read())
    with path.open("r+b") as spoiled:
        spoiled.write(b"x" * (path.stat().st_size - 1))
    with path.open("ab") as out:
        out.write(b'{"step": 101}\n')
    assert list(file.read()) == [*before, {"step": 101}]
    assert file.bad_lines == 0


@pytest.mark.parametrize("most", [1, 7, 50])
def test_of_many_steps_a_bounded_number_is_kept_and_always_the_newest(tmp_path: Path, most: int) -> None:
    path = tmp_path / "samples.jsonl"
    file = GrowingLines(path, most)
    for step in range(1, 301):
        with path.open("a") as out:
            out.write("".join(json.dumps({"step": step, "number": number}) + "\n" for number in range(2)))
        records = list(file.read())
        steps = sorted({record["step"] for record in records})
        assert len(records) == 2 * len(steps)
        assert len(steps) <= most + 1
        assert steps[-1] == step
        assert file.steps == step
        gaps = {later - earlier for earlier, later in pairwise(steps[:-1])}
        assert len(gaps) <= 1  # evenly spread, but for the newest


def test_the_page_of_a_run_that_goes_on_says_how_many_steps_there_are(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", steps=60)
    whole, few = read_run(folder), RunReader(folder, most_steps=20).read()
    assert (len(whole.metrics), whole.steps_recorded) == (60, 60)
    assert len(few.metrics) <= 21
    assert few.steps_recorded == 60
    assert few.metrics[-1] == whole.metrics[-1]
    assert (few.evaluations, few.run, few.config, few.status) == (
        whole.evaluations,
        whole.run,
        whole.config,
        whole.status,
    )
    report = LiveReport(folder)
    report.step_ended()
    report.refresh()
    assert "60" in (folder / "report.html").read_text(encoding="utf-8")


def test_a_moving_mean_is_that_of_a_plain_loop() -> None:
    draw = random.Random(0)
    for size in (1, 2, 3, 50):
        points = [(float(x), draw.uniform(-5, 5)) for x in range(size)]
        for window in (1, 3, 5, 99):
            half = window // 2
            for place, (x, mean) in enumerate(smooth(points, window)):
                near = [y for _, y in points[max(0, place - half) : place + half + 1]]
                assert x == points[place][0]
                assert mean == pytest.approx(sum(near) / len(near), abs=1e-12)
    assert smooth([], 5) == []
