"""What `couplet evaluate` takes as TASKS, and how the chat that it makes of them is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from click.testing import CliRunner, Result

from common.config import ConfigError, RewardConfig
from common.tasks.hub import downloaded
from common.tasks.rows import TaskFileError
from orchestrator.commands.evaluate.benchmarks import load_benchmarks
from orchestrator.commands.main import main
from tests.common.tasks.task_rows import APPS, BIGCODEBENCH, CRUXEVAL, HUMANEVAL, MBPP, write

SCORING = RewardConfig(allow_forgeable=True)
RIGHT = "def root(x):\n    return math.sqrt(x)\n"


def evaluate(*arguments: object) -> Result:
    words = ["evaluate", "builtin:quickstart", *arguments, "--max-tokens", 4, "--slots", 1]
    return CliRunner().invoke(main, [*map(str, words)], catch_exceptions=False)


def samples_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


def test_humaneval_in_a_chat_is_tested_by_the_program_of_the_answer(tmp_path: Path) -> None:
    """The answers begin with whole programs; what the model goes on with stands behind the last closing fence."""
    file, chat = write(tmp_path / "humaneval.jsonl", HUMANEVAL), tmp_path / "chat.jinja"
    chat.write_text("{% for m in messages %}{{ m.content }}\n{% endfor %}")
    arguments = (file, "--template", "diffucoder", "--chat-template-file", chat)
    answer = f"```\n{RIGHT}```\nor\n```\ndef root(x):\n    return 2\n```\nsince "
    for block, passed in (("first", True), ("last", False)):
        out = tmp_path / block
        result = evaluate(*arguments, "--answer-prefix", answer, "--extraction", block, "--output", out)
        assert result.exit_code == 0, result.output
        (sample,) = samples_of(out)
        assert (sample["passed"], sample["excluded"]) == (passed, False)


def test_an_answer_without_code_fails_with_a_reason(tmp_path: Path) -> None:
    file = write(tmp_path / "mbpp.jsonl", MBPP)
    result = evaluate(file, "--answer-prefix", "I would rather not: ", "--stop", " ", "--output", tmp_path / "out")
    assert result.exit_code == 0, result.output
    (sample,) = samples_of(tmp_path / "out")
    assert (sample["passed"], sample["excluded"], sample["error"]) == (False, False, "")
    assert sample["failure"] == "error: the completion holds no program"
    settings = json.loads((tmp_path / "out" / "settings.json").read_text())["settings"]
    assert settings["templates"][0]["extraction"] == {"rule": "lenient", "block": "first", "trimmed": False}


def test_a_file_is_read_in_several_formats(tmp_path: Path) -> None:
    plain = BIGCODEBENCH | {"test": BIGCODEBENCH["test"].replace("import numpy as np\n", "")}
    file = write(tmp_path / "Code-v0.1.0.jsonl.gz", plain)
    other = write(tmp_path / "crux=o.jsonl", CRUXEVAL)
    sources = [str(file), f"bigcodebench-instruct={file}", str(other), f"cruxeval-i={other}"]
    found = load_benchmarks(sources, None, None, SCORING, [])
    assert [one.name for one in found] == [
        "Code-v0.1.0", "Code-v0.1.0.bigcodebench-instruct", "crux-o", "crux-o.cruxeval-i",
    ]  # fmt: skip
    kinds = ["continuation", "fenced", "asserted_value", "asserted_call"]
    assert [one.tasks[0].completion for one in found] == kinds
    with pytest.raises(TaskFileError, match=f"^no-such={file}: 'no-such' is no task format known here"):
        load_benchmarks([f"no-such={file}"], None, None, SCORING, [])


def test_what_cannot_be_scored_is_left_out_before_it_is_completed(tmp_path: Path) -> None:
    patches = BIGCODEBENCH | {"task_id": "p", "test": BIGCODEBENCH["test"].replace("numpy as np", "unittest.mock")}
    plain = BIGCODEBENCH | {"task_id": "q", "test": BIGCODEBENCH["test"].replace("import numpy as np\n", "")}
    file = write(tmp_path / "code.jsonl", BIGCODEBENCH, patches, plain)
    notes: list[str] = []
    (found,) = load_benchmarks([str(file)], None, None, RewardConfig(), notes)
    assert [task.id for task in found.tasks] == ["q"]
    assert notes == [
        f"{file}: 1 of 3 tasks left out: needs numpy; name a folder that has it with reward.packages (--packages)",
        f"{file}: 1 of 3 tasks left out: tests that run in the solution's own process can be forged; accept that "
        "with reward.allow_forgeable: true (--allow-forgeable)",
    ]
    (tmp_path / "packages" / "numpy").mkdir(parents=True)
    (tmp_path / "packages" / "numpy" / "__init__.py").touch()
    able = RewardConfig(allow_forgeable=True, packages=tmp_path / "packages")
    assert len(load_benchmarks([str(file)], None, None, able, [])[0].tasks) == 3
    solved = write(tmp_path / "apps.jsonl", APPS | {"solutions": json.dumps(["import numpy\nprint(1)"])})
    assert len(load_benchmarks([str(solved)], None, None, RewardConfig(), [])[0].tasks) == 1
    lacking = write(tmp_path / "other.jsonl", BIGCODEBENCH)
    with pytest.raises(ConfigError, match=r"other\.jsonl: no usable task; needs numpy"):
        load_benchmarks([str(lacking)], None, None, RewardConfig(), [])


def test_a_file_of_the_hub_is_read_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    for name, files in (("one", ["data/test-0.jsonl"]), ("two", ["test.jsonl", "test6.jsonl.gz"])):
        cached = tmp_path / f"datasets--us--{name}"
        (cached / "refs").mkdir(parents=True)
        (cached / "refs" / "main").write_text("0" * 40)
        for file in files:
            path = cached / "snapshots" / ("0" * 40) / file
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, HUMANEVAL)
        (cached / "snapshots" / ("0" * 40) / "loader.py").write_text("raise SystemExit")
    sources = ["hub:us/one", "hub:us/two/test6*", "humaneval=hub:us/two/test.jsonl"]
    found = load_benchmarks(sources, None, None, SCORING, [])
    assert [one.name for one in found] == ["one", "two-test6", "two-test.humaneval"]
    assert {one.tasks[0].id for one in found} == {"HumanEval/900"}
    with pytest.raises(TaskFileError, match=r"hub:us/two: names several files \(test\.jsonl, test6\.jsonl\.gz\)"):
        downloaded("hub:us/two")
    for name in ("hub:us/two/none.jsonl", "hub:us/three", "hub:us", "hub:"):
        with pytest.raises(TaskFileError, match=f"^{name}: (names no file|no data set that the Hub gives)"):
            downloaded(name)
