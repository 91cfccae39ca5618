from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pytest

from common.config import Config, ConfigError
from common.records import Task, TestCase
from orchestrator.curriculum import Curriculum, load_data
from tests.common.tasks.task_rows import HUMANEVAL, write

TASKS = [Task(id=f"t{i}", prompt="p", tests=(TestCase(call="f()", expected="1"),)) for i in range(17)]


def ids(curriculum: Curriculum, indices: list[int]) -> list[str]:
    return [curriculum.task(index).id for index in indices]


def test_each_epoch_is_a_permutation_of_its_own() -> None:
    curriculum = Curriculum(TASKS, seed=3)
    epochs = [ids(curriculum, list(range(17 * e, 17 * e + 17))) for e in range(4)]
    for epoch in epochs:
        assert sorted(epoch) == sorted(task.id for task in TASKS)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_a_task_is_a_pure_function_of_seed_and_index() -> None:
    indices = list(range(60))
    expected = ids(Curriculum(TASKS, seed=3), indices)
    order = list(indices)
    random.Random(0).shuffle(order)
    curriculum = Curriculum(TASKS, seed=3)
    assert dict(zip(order, ids(curriculum, order), strict=True)) == dict(zip(indices, expected, strict=True))
    assert ids(Curriculum(TASKS, seed=4), indices) != expected


def test_no_task_at_all_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match=r"data\.train: no usable task"):
        Curriculum([], seed=0)


def test_tasks_left_out_are_counted_in_the_notes(tmp_path: Path) -> None:
    records = [
        {"id": "short", "prompt": "def f():", "tests": [{"call": "f()", "expected": "1"}]},
        {"id": "long", "prompt": "x = 1\n" * 200, "tests": [{"call": "f()", "expected": "1"}]},
        {"id": "odd", "prompt": "def f():", "test_list": ["assert 1 == 1"]},
        {"id": "half", "prompt": "def f():", "test_list": ["assert f() == 1", "assert True"]},
    ]
    file = tmp_path / "tasks.jsonl.gz"
    file.write_bytes(gzip.compress("".join(json.dumps(r) + "\n" for r in records).encode()))
    config = Config.model_validate(
        {"model": {"path": "builtin:quickstart"}, "data": {"train": file, "max_prompt_tokens": 64}}
    )
    notes: list[str] = []
    train, held_out = load_data(config, notes)
    assert [task.id for task in train] == ["short", "half"]
    assert held_out == []
    assert any("1 tasks skipped" in note and "row 3" in note for note in notes)
    assert any("1 tests left out" in note and "row 4" in note for note in notes)
    assert any("more than 64 tokens" in note for note in notes)


def test_synthetic_data_is_the_seed_s_own() -> None:
    def made(seed: int) -> list[str]:
        config = Config.model_validate(
            {
                "run": {"seed": seed},
                "model": {"path": "builtin:quickstart"},
                "data": {"source": "synthetic", "train_tasks": 30, "held_out_tasks": 10},
            }
        )
        train, held_out = load_data(config, [])
        assert (len(train), len(held_out)) == (30, 10)
        return [task.prompt for task in train + held_out]

    assert made(1) == made(1)
    assert made(1) != made(2)


def test_in_a_chat_a_task_to_continue_is_a_question(tmp_path: Path) -> None:
    file, template = write(tmp_path / "tasks.jsonl", HUMANEVAL), tmp_path / "chat.jinja"
    template.write_text("{% for m in messages %}{{ m.content }}\n{% endfor %}")
    chat = {"chat_template": True, "chat_template_file": template, "complete_prompt": "Finish it: {prompt}"}
    for given, completion in (({}, "continuation"), (chat, "fenced")):
        data = {"train": file, "held_out": file, **given}
        config = Config.model_validate({"model": {"path": "builtin:quickstart"}, "data": data})
        for tasks in load_data(config, []):
            assert [task.completion for task in tasks] == [completion]
            assert tasks[0].prompt.startswith("Finish it: import math") == (completion == "fenced")
