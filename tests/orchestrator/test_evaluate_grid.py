"""`couplet evaluate` over templates, temperatures, denoising steps and seeds."""

from __future__ import annotations

import csv
import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from common.records import Sampler, Task
from evaluation.benchmark import Benchmark, ask
from evaluation.subject import Subject
from evaluation.templates import template
from learner.warm_start.synthetic import generate
from orchestrator.commands.main import main
from rollout_workers.requests import RequestError

MODEL = "builtin:quickstart"


def evaluate(*arguments: object) -> Result:
    words = ["evaluate", *map(str, arguments), "--slots", "1", "--threads", "1"]
    return CliRunner(env={"COLUMNS": "80"}).invoke(main, words, catch_exceptions=False)


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    folder = tmp_path_factory.mktemp("grid")
    tasks = folder / "a_rather_long_name_of_a_benchmark.jsonl"
    tests = [{"call": "f([1, 2])", "expected": "3"}]
    row = {"prompt": "# Return the sum of xs.\ndef f(xs):\n", "prefix": "def f(xs):\n", "tests": tests}
    tasks.write_text("".join(json.dumps({"id": name, **row}) + "\n" for name in "ab"))
    result = evaluate(
        MODEL, tasks, "--template", "plain", "--template", "base", "--temperature", "0.2,1.6", "--seeds", "0,7",
        "--denoising-steps", "12,6", "--max-tokens", 12, "--samples", 3, "--k", "1,3", "--output", folder / "out",
        "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    return folder / "out", result


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_every_combination_is_a_cell_with_samples_of_its_own(grid: tuple[Path, Result]) -> None:
    out, _ = grid
    wanted = list(product(("plain", "base"), (0.2, 1.6), (12, 6), (0, 7)))
    settings = read(out / "settings.json")["settings"]
    found = [
        (one["template"], one["sampler"]["temperature"], one["sampler"]["denoising_steps"], one["seed"])
        for one in settings["cells"]
    ]
    assert found == wanted
    samples = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
    places = [(one["cell"], one["index"], one["sample"]) for one in samples]
    names = [f"{name},T{temperature},steps{steps},seed{seed}" for name, temperature, steps, seed in wanted]
    assert places == list(product(names, range(2), range(3)))
    steps = {one["cell"]: max(one["executed_step_map"]) for one in samples if ",steps6," in one["cell"]}
    assert max(steps.values()) <= 5


def test_tables_fit_80_columns_and_show_every_setting_that_varies(grid: tuple[Path, Result]) -> None:
    _, result = grid
    lines = result.stdout.splitlines()
    table = lines[: next(place for place, line in enumerate(lines) if line.startswith("{"))]
    assert max(map(len, table)) <= 80
    assert not any("…" in line for line in table)
    text = " ".join(" ".join(table).split())
    for heading in ("template", "T", "steps", "seed", "pass@1", "pass@3", "tok/pass", "seconds"):
        assert heading in text
    assert "3 completions of each task" in text
    assert "Over the seeds 0, 7" in text
    assert "The best of the temperatures 0.2, 1.6" in text


def test_the_csv_has_all_settings_beside_every_score(grid: tuple[Path, Result]) -> None:
    out, _ = grid
    rows = list(csv.DictReader((out / "summary.csv").open()))
    summary = read(out / "summary.json")
    kinds = [row["row"] for row in rows]
    assert kinds == ["cell"] * 16 + ["seeds"] * 8 + ["best"] * 4
    assert [len(summary[name]) for name in ("scores", "means", "best")] == [16, 8, 4]
    for row, score in zip(rows, summary["scores"], strict=False):
        assert float(row["pass@3"]) == score["pass_at"]["3"]
        assert (float(row["pass@1_low"]), float(row["pass@1_high"])) == tuple(score["intervals"]["1"])
        assert (row["top_p"], row["completion_length"], row["engine"]) == ("0.95", "12", "torch")
        assert row["template"] in ("plain", "base")
    best = rows[-1]
    assert best["pass@1_at"] in ("0.2", "1.6")
    assert best["temperatures"] == "0.2 1.6"


def test_the_markdown_has_a_line_for_every_score(grid: tuple[Path, Result]) -> None:
    out, _ = grid
    text = (out / "summary.md").read_text()
    assert sum(line.startswith("| a_rather_long_name") for line in text.splitlines()) == 16 + 8 + 4
    assert "--top-p 0.95" in text


def test_json_is_the_whole_summary_with_the_times(grid: tuple[Path, Result]) -> None:
    out, result = grid
    printed = json.loads(result.stdout.splitlines()[-1])
    times = {one["cell"]: one["seconds"] for one in read(out / "times.json")["completing"]}
    assert {one["cell"]: one.pop("seconds") for one in printed["scores"]} == times
    assert printed == read(out / "summary.json")
    assert all(seconds > 0 for seconds in times.values())


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--temperature", "1,0.5,1"), "1.0 is given twice"),
        (("--seeds", "0", "--seed", "0"), "0 is given twice"),
        (("--denoising-steps", "8,x"), "'x' is not a valid integer"),
        (("--temperature", "warm"), "'warm' is not a valid float."),
        (("--temperature", "-1"), "-1.0 is not in the range x>=0"),
        (("--temperature", "0.2,"), "'' is not a valid float"),
        (("--temperature", "inf"), "inf is not a finite number"),
    ],
)
def test_a_list_that_is_none_is_refused(option: tuple[str, ...], message: str) -> None:
    result = evaluate(MODEL, MODEL, *option)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_preset_sets_what_is_not_given_and_a_seed_draws_no_other_tasks(tmp_path: Path) -> None:
    """The paper's: best of three temperatures, 512 tokens; a template, a length and a seed are given here."""
    result = evaluate(
        MODEL, "builtin:quickstart", "--preset", "diffucoder", "--template", "plain", "--max-tokens", 4,
        "--seed", 5, "--limit", 1, "--output", tmp_path,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    cells = read(tmp_path / "settings.json")["settings"]["cells"]
    assert [one["sampler"]["temperature"] for one in cells] == [0.2, 0.3, 0.4]
    assert {one["template"] for one in cells} == {"plain"}
    assert {(one["sampler"]["completion_length"], one["sampler"]["denoising_steps"]) for one in cells} == {(4, 4)}
    assert {(one["sampler"]["top_p"], one["sampler"]["decoder"]) for one in cells} == {(0.95, "entropy")}
    assert {one["seed"] for one in cells} == {5}
    (task_id,) = {json.loads(line)["task_id"] for line in (tmp_path / "samples.jsonl").read_text().splitlines()}
    assert task_id == generate(0, 2000, 200).held_out[0].task.id


def test_the_longest_that_is_said_to_fit_does() -> None:
    subject = Subject.read(MODEL, None)
    plain = template("plain")
    tasks = (Task(id="short", prompt="x", tests=()), Task(id="long", prompt="x = 1\n" * 20, tests=()))
    asked = [ask(Benchmark("any", "any", tasks), plain, subject.encoder(plain.prompts))]
    with pytest.raises(RequestError, match="of task 'long' of any") as caught:
        subject.check(asked, Sampler(completion_length=512))
    most = int(str(caught.value).removesuffix(" or less").split()[-1])
    assert subject.check(asked, Sampler(completion_length=most, denoising_steps=1)) == 512
    with pytest.raises(RequestError):
        subject.check(asked, Sampler(completion_length=most + 1, denoising_steps=1))
