from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest

from common import rng
from common.config import Config, ConfigError, dump_config, load_config
from common.records import Task, TestCase
from common.tasks.rows import MissingTaskFileError, TaskFileError
from orchestrator.curriculum import Curriculum, count_tasks, load_curriculum, load_data
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


def test_tasks_that_this_machine_cannot_score_are_left_out_with_the_remedy(tmp_path: Path) -> None:
    plain = {
        "id": "plain",
        "prompt": "def f():",
        "prefix": "def f():",
        "tests": [{"call": "f()", "expected": "1"}],
    }
    lacking = {**plain, "id": "lacking", "test_setup": "import no_such_library"}
    guarded = {**plain, "id": "guarded", "test_setup": "try:\n import no_such_library\nexcept ImportError: pass"}
    patched = {**plain, "id": "patched", "in_process": True}
    file = write(tmp_path / "tasks.jsonl", plain, lacking, guarded, patched)

    def loaded(**changes: object) -> tuple[list[str], list[str]]:
        fields = {"model": {"path": "builtin:quickstart"}, "data": {"train": file, "held_out": file}, **changes}
        notes: list[str] = []
        return [task.id for task in load_data(Config.model_validate(fields), notes)[1]], notes

    tasks, notes = loaded()
    assert tasks == ["plain", "guarded"]
    assert any("1 tasks left out: needs no_such_library; name a folder that has it with" in note for note in notes)
    assert any("can be forged; accept that with reward.allow_forgeable: true" in note for note in notes)
    (tmp_path / "no_such_library.py").touch()
    able = {"packages": tmp_path, "allow_forgeable": True}
    assert len(loaded(reward=able)[0]) == 4
    elsewhere = {"reward": {"workers": 0}, "run": {"id": "r"}, "streams": {"url": "redis://127.0.0.1:1/0"}}
    assert len(loaded(**elsewhere)[0]) == 4, "another machine scores"
    (tmp_path / "no_such_library.py").unlink()
    write(tmp_path / "tasks.jsonl", lacking)
    with pytest.raises(ConfigError, match=r"data\.train: no usable task: 1 tasks left out: needs no_such"):
        loaded()


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


def labelled(name: str, count: int) -> list[Task]:
    return [TASKS[0].model_copy(update={"id": f"{name}/{number}"}) for number in range(count)]


WEIGHTED = [(labelled("a", 5), 2.0), (labelled("b", 3), 1.0), (labelled("c", 1), 0.5)]


def test_weighted_sources_are_drawn_as_a_plain_loop_draws_them() -> None:
    """One group after the other: draw its source, and take the next task of that source's own epoch."""
    curriculum = Curriculum.weighted(WEIGHTED, seed=7)
    weights = np.array([weight for _, weight in WEIGHTED])
    edges = np.cumsum(weights / weights.sum())
    draws = np.concatenate([rng.stream(7, "mixture", block).random(4096) for block in range(2)])
    taken, expected = [0] * len(WEIGHTED), []
    for draw in draws[:4200]:
        source = next(number for number, edge in enumerate(edges) if draw < edge)
        tasks = WEIGHTED[source][0]
        epoch, place = divmod(taken[source], len(tasks))
        expected.append(tasks[rng.stream(7, "task-order", epoch, source).permutation(len(tasks))[place]].id)
        taken[source] += 1
    assert ids(curriculum, list(range(4200))) == expected
    assert curriculum.epochs(4200) == [
        count / len(tasks) for count, (tasks, _) in zip(taken, WEIGHTED, strict=True)
    ]
    assert [count / 4200 for count in taken] == pytest.approx([4 / 7, 2 / 7, 1 / 7], abs=0.03)
    assert len(curriculum) == 9


def test_a_weighted_task_is_a_pure_function_of_seed_and_index() -> None:
    indices = list(range(300))
    expected = ids(Curriculum.weighted(WEIGHTED, seed=3), indices)
    order = list(indices)
    random.Random(0).shuffle(order)
    shuffled = ids(Curriculum.weighted(WEIGHTED, seed=3), order)
    assert [task for _, task in sorted(zip(order, shuffled, strict=True))] == expected
    assert ids(Curriculum.weighted(WEIGHTED, seed=4), indices) != expected


def several(folder: Path, **data: object) -> Config:
    rows = [
        {"id": number, "prompt": "def f():", "tests": [{"call": "f()", "expected": "1"}]} for number in range(3)
    ]
    one, two = write(folder / "one.jsonl", *rows), write(folder / "two.jsonl.gz", *rows[:2])
    sources = {"train": [{"path": str(one), "weight": 3}, {"path": str(two), "name": "second", "weight": 1}]}
    return Config.model_validate({"model": {"path": "builtin:quickstart"}, "data": sources | data})


def test_several_sources_keep_their_tasks_apart(tmp_path: Path) -> None:
    config = several(tmp_path, held_out=[str(tmp_path / "one.jsonl"), str(tmp_path / "two.jsonl.gz")])
    curriculum, held_out = load_curriculum(config, [])
    assert set(ids(curriculum, list(range(60)))) == {"one/0", "one/1", "one/2", "second/0", "second/1"}
    assert [task.id for task in held_out] == ["one/0", "one/1", "one/2", "two/0", "two/1"]
    without = several(tmp_path, train=[str(tmp_path / "one.jsonl"), str(tmp_path / "two.jsonl.gz")])
    epoch = ids(load_curriculum(without, [])[0], list(range(5)))
    assert sorted(epoch) == ["one/0", "one/1", "one/2", "two/0", "two/1"]
    alone = several(tmp_path, train=str(tmp_path / "one.jsonl"))
    assert sorted(task.id for task in load_data(alone, [])[0]) == ["0", "1", "2"]
    (tmp_path / "recipe.yaml").write_text(dump_config(config))
    assert load_config(tmp_path / "recipe.yaml") == config
    assert "train: " + str(tmp_path / "one.jsonl") in dump_config(alone)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"train": ["a/x.jsonl", "b/x.jsonl"]},
            "train: two sources are called 'x'; give one of them",
        ),
        ({"train": [{"path": "a", "weight": 1}, "b"]}, "train: b has no weight and others have"),
        (
            {"held_out": [{"path": "a", "weight": 1}]},
            "held_out: is evaluated on as a whole; leave the",
        ),
        ({"train": []}, "train: missing; name a file of tasks"),
        ({"source": "synthetic", "train": "a"}, "train: not read where tasks are generated"),
        ({"source": "synthetic", "train": [], "held_out": "a"}, "held_out: not read where tasks are generated"),
        ({"train": None}, "train: missing; name a file of tasks"),
        ({"train": [{"path": "a", "wieght": 1}]}, r"train\.0\.wieght"),
        ({"train": [{"path": ""}]}, r"train\.0\.path"),
        ({"train": 3}, r"train"),
    ],
)
def test_sources_that_contradict_each_other_are_refused(
    tmp_path: Path, data: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        several(tmp_path, **data)


def test_no_usable_task_says_why(tmp_path: Path) -> None:
    config = several(tmp_path, train=str(tmp_path / "one.jsonl"), max_prompt_tokens=1)
    with pytest.raises(ConfigError, match=r"data.train: no usable task: 3 have prompts of more than 1 token"):
        load_data(config, [])
    nothing = write(tmp_path / "nothing.jsonl", {"id": 1, "prompt": "p", "test_list": ["assert True"]})
    for split in ("train", "held_out"):
        with pytest.raises(ConfigError, match=rf"data.{split}: no usable task: 1 were skipped, the first, line"):
            load_data(several(tmp_path, **{split: str(nothing)}), [])


def test_a_data_set_of_the_hub_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    folder = tmp_path / "datasets--us--one"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs/main").write_text("0")
    (folder / "snapshots/0").mkdir(parents=True)
    write(folder / "snapshots/0/test.jsonl", HUMANEVAL)
    assert len(load_data(several(tmp_path, train="hub:us/one"), [])[0]) == 1
    assert count_tasks(several(tmp_path, train="hub:us/one")).train == 1
    with pytest.raises(TaskFileError, match="hub:us/two: no data set that the Hub gives"):
        load_data(several(tmp_path, train="hub:us/two"), [])
    with pytest.raises(MissingTaskFileError, match=r"hub:us/two: .* is in the cache; the run downloads it"):
        count_tasks(several(tmp_path, train="hub:us/two"))
    with pytest.raises(TaskFileError, match=r"us/one: there is no such file; .*, write hub:us/one$"):
        load_data(several(tmp_path, train="us/one"), [])
