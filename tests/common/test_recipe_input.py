"""What a recipe may hold: numbers, keys and text that are wrong are refused by the name of their field."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
import yaml

from common.config import (
    Config,
    ConfigError,
    PluginConfig,
    Section,
    StageConfig,
    dump_config,
    load_config,
    load_stage_config,
)
from common.config.loading import sections_in

TREES: dict[type[Section], dict[str, Any]] = {
    Config: {"model": {"path": "builtin:quickstart"}, "data": {"source": "synthetic"}},
    StageConfig: {"stage": "sft", "model": {"path": "m"}, "data": {"sources": [{"path": "d.jsonl"}]}},
}
#: What sections must be given beside the field that is tried.
REQUIRED: dict[str, dict[str, Any]] = {"functions": {"path": "m:f"}, "sources": {"path": "d.jsonl"}}
NEVER = [math.inf, -math.inf, math.nan, True, 10**400, "nan", "many", {}, [1, 2, 3]]
PERHAPS = [-1, 0, 0.5, 2**63, 1e300, "1e-3"]


@dataclass(frozen=True)
class Number:
    """A field that holds numbers; ``tree`` puts a value of it into a whole recipe."""

    name: str
    tree: Callable[[Any], dict[str, Any]]
    items: int


def types_in(annotation: Any) -> Iterator[Any]:
    yield annotation
    for part in get_args(annotation):
        yield from types_in(part)


def numbers(
    section: type[Section], path: str, wrap: Callable[[dict[str, Any]], dict[str, Any]]
) -> Iterator[Number]:
    for name, field in section.model_fields.items():
        types = list(types_in(field.annotation))
        listed = next((get_args(kind) for kind in types if get_origin(kind) is tuple), None)
        for kind, inner in sections_in(field.annotation).items():
            given = {**REQUIRED.get(name, {}), **({"kind": kind} if "kind" in inner.model_fields else {})}
            if inner is PluginConfig:
                continue  # its options are checked by the plug-in
            yield from numbers(
                inner,
                f"{path}{name}.",
                lambda fields, name=name, given=given, listed=listed: wrap(  # type: ignore[misc]
                    {name: [given | fields] if listed else given | fields}
                ),
            )
        if {int, float} & set(types) and bool not in types and not sections_in(field.annotation):
            count = 0 if listed is None else len(listed) - listed.count(...)
            yield Number(f"{path}{name}", lambda value, name=name: wrap({name: value}), count)  # type: ignore[misc]


def all_numbers() -> list[tuple[type[Section], Number]]:
    found = []
    for tree, minimal in TREES.items():

        def whole(fields: dict[str, Any], minimal: dict[str, Any] = minimal) -> dict[str, Any]:
            [(name, section)] = fields.items()
            return minimal | {name: minimal.get(name, {}) | section}

        found += [(tree, number) for number in numbers(tree, "", whole)]
    return found


def test_the_walk_finds_the_numbers_that_a_reader_would_name() -> None:
    names = {number.name for _, number in all_numbers()}
    assert len(names) > 90
    assert {
        "run.seed",
        "learner.optimizer.learning_rate",
        "learner.optimizer.betas",
        "learner.estimator.mask_ratio",
        "learner.objective.kl_weight",
        "learner.lora.rank",
        "rollout.temperature",
        "rollout.backend.tensor_parallel_size",
        "reward.functions.weight",
        "data.sources.weight",
        "evaluation.ratios",
        "deadlines.step_seconds",
    } <= names


def refusal(tree: type[Section], recipe: Path) -> str | None:
    """Return what a recipe is refused with; None where it is taken, with finite numbers."""
    try:
        config = load_config(recipe) if tree is Config else load_stage_config(recipe, "sft")
    except ConfigError as error:
        return str(error)
    text = dump_config(config)
    assert ".nan" not in text
    assert ".inf" not in text
    return None


@pytest.mark.parametrize("value", [*NEVER, *PERHAPS], ids=lambda value: f"{type(value).__name__}-{str(value)[:9]}")
def test_no_field_takes_a_number_that_is_none(tmp_path: Path, value: Any) -> None:
    """Every numeric field of both trees refuses a bad value by its name, or holds a finite number afterwards."""
    recipe = tmp_path / "recipe.yaml"
    for tree, number in all_numbers():
        each = [value] * number.items if number.items and not isinstance(value, list) else value
        recipe.write_text(yaml.dump(number.tree(each), Dumper=yaml.CSafeDumper))
        message = refusal(tree, recipe)
        if message is None:
            assert not any(value is bad for bad in NEVER), number.name
        elif value in PERHAPS:
            assert number.name.partition(".")[0] in message  # of its own section, it may contradict another field
        else:
            assert number.name.rpartition(".")[2] in message
            assert len(message) < 5000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run: {steps: 1}\nrun: {steps: 2}\n", r"run: given twice, on lines 1 and 2; leave one"),
        ("learner:\n  ranks: 1\n  ranks: 2\n", r"learner\.ranks: given twice, on lines 2 and 3"),
        ("reward:\n  functions:\n  - {path: 'm:f', path: 'm:g'}\n", r"reward\.functions\.0\.path: given twice"),
        ('run: {about: "\\ud83d"}\n', r"run\.about: holds half of a surrogate pair.* \(line 1\)"),
        ("run: {seed: " + "9" * 5000 + "}\n", "not valid YAML: a value cannot be read"),
        ("run: {about: 2026-99-99}\n", "not valid YAML: a value cannot be read"),
        ("[" * 3000, "not valid YAML"),
        ("run: {seed: 0x" + "f" * 5000 + "}\n", r"run\.seed: .* \(got 0xfff"),
        ("run: {seed: 18446744073709551616}\n", r"run\.seed: .* less than or equal to 18446744073709551615"),
        ("run: {seed: true}\n", r"run\.seed: is true or false; write a number \(got True\)"),
        ("learner: {optimizer: {betas: [true, 0.9]}}\n", r"learner\.optimizer\.betas: is true or false"),
        ("learner: {optimizer: {betas: [0.9, 1.0]}}\n", r"learner\.optimizer\.betas\.1: .* less than 1"),
        ("learner: {optimizer: {betas: [-0.1, 0.9]}}\n", r"learner\.optimizer\.betas\.0: .* equal to 0"),
        ("learner: {optimizer: {learning_rate: .inf}}\n", r"learner\.optimizer\.learning_rate: .* finite"),
    ],
)
def test_a_recipe_that_says_two_things_or_nothing_is_refused(tmp_path: Path, text: str, message: str) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("model: {path: builtin:quickstart}\ndata: {source: synthetic}\n")
    load_config(recipe)
    recipe.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(recipe)


def test_an_override_is_read_as_strictly_as_a_recipe(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("model: {path: builtin:quickstart}\ndata: {source: synthetic}\n")
    for override, message in (
        ("learner.optimizer={learning_rate: 1, learning_rate: 2}", "learning_rate: given twice"),
        ("run.seed=" + "9" * 5000, "a value cannot be read"),
        ("run.seed=" + "9" * 50, r"run\.seed: .* less than or equal"),
        ("run.about='\udcff'", "not valid YAML"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_config(recipe, [override])


def test_the_largest_seed_and_a_merged_mapping_are_legal(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "\ufeffmodel: {path: builtin:quickstart}\ndata: {source: synthetic, train_tasks: 5}\n"
        "run: {seed: 18446744073709551615}\nrollout: {<<: {workers: 1}, workers: 2}\n",
        encoding="utf-8",
    )
    config = load_config(recipe)
    assert config.run.seed == 2**64 - 1
    assert config.rollout.workers == 2
