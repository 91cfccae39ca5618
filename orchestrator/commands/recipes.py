"""The recipes that come with the package, found by their names from any folder."""

from __future__ import annotations

import os
import re
from pathlib import Path

from common.config import ConfigError, Stage
from orchestrator.report.stage_summary import NEXT_STAGE

# Beside the rooms, in a clone as in a wheel. Not importlib.resources: a folder of the user's may be named
# `recipes` too, and be on the path before ours.
_SHIPPED = Path(__file__).parents[2] / "recipes"


def shipped_recipe(name: str) -> Path:
    """Return the file of a recipe of ours, named with or without ``.yaml``. Raises ConfigError.

    One of a chain is named with its folder, as ``tiny_chain/adapt``.
    """
    known = {file.relative_to(_SHIPPED).with_suffix("").as_posix(): file for file in _SHIPPED.rglob("*.yaml")}
    found = known.get(name.removesuffix(".yaml"))
    if found is None:
        raise ConfigError(
            f"recipe {name}: no such file, and no recipe of ours; those are {', '.join(sorted(known))}"
        )
    return found


def find_recipe(recipe: Path) -> Path:
    """Return ``recipe`` if there is such a file, else the recipe of ours with that name.

    Ours are ``NAME``, ``NAME.yaml`` and ``recipes/NAME.yaml``, and the same with the folder of a chain in front of
    NAME. Raises ConfigError for a name that is none of them.
    """
    ours = recipe.relative_to("recipes") if recipe.is_relative_to("recipes") else recipe
    return recipe if recipe.exists() and not recipe.is_dir() else shipped_recipe(ours.as_posix())


def next_recipe(recipe: str, stage: Stage) -> str | None:
    """Return the recipe whose name has the next stage where that of ``recipe`` has ``stage``; None without one.

    After ``tiny_chain/adapt`` comes ``tiny_chain/pretrain``, after ``mine/7b_sft.yaml`` ``mine/7b_train.yaml``.
    """
    folder, name = os.path.split(recipe)
    following = os.path.join(folder, re.sub(rf"(^|[_-]){stage}(?=$|\.)", rf"\1{NEXT_STAGE[stage]}", name))
    if following == recipe:
        return None
    try:
        find_recipe(Path(following))
    except ConfigError:
        return None
    return following
