"""The recipes that come with the package, found by their names from any folder."""

from __future__ import annotations

from pathlib import Path

from common.config import ConfigError

# Beside the rooms, in a clone as in a wheel. Not importlib.resources: a folder of the user's may be named
# `recipes` too, and be on the path before ours.
_SHIPPED = Path(__file__).parents[2] / "recipes"


def shipped_recipe(name: str) -> Path:
    """Return the file of a recipe of ours, named with or without ``.yaml``. Raises ConfigError."""
    file = _SHIPPED / f"{name.removesuffix('.yaml')}.yaml"
    if not file.is_file():
        known = ", ".join(sorted(each.stem for each in _SHIPPED.glob("*.yaml")))
        raise ConfigError(f"recipe {name}: no such file, and no recipe of ours; those are {known}")
    return file


def find_recipe(recipe: Path) -> Path:
    """Return ``recipe`` if it is a file or names one in another folder, else the recipe of ours with that name.

    Ours are ``NAME``, ``NAME.yaml`` and ``recipes/NAME.yaml``. Raises ConfigError for a name that is none of them.
    """
    if recipe.is_file() or recipe.parent not in (Path(), Path("recipes")):
        return recipe
    return shipped_recipe(recipe.name)
