"""The recipes that come with the package, found by their names from any folder."""

from __future__ import annotations

from pathlib import Path

from common.config import ConfigError

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
    """Return ``recipe`` if it is a file or names one in another folder, else the recipe of ours with that name.

    Ours are ``NAME``, ``NAME.yaml`` and ``recipes/NAME.yaml``, and the same with the folder of a chain in front of
    NAME. Raises ConfigError for a name that is none of them.
    """
    ours = recipe.relative_to("recipes") if recipe.is_relative_to("recipes") else recipe
    chains = {folder.name for folder in _SHIPPED.iterdir() if folder.is_dir()}
    if recipe.is_file() or str(ours.parent) not in {".", *chains}:
        return recipe
    return shipped_recipe(ours.as_posix())
