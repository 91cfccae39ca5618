"""Protocols by name: the options of `couplet evaluate` that ``--preset`` sets, where they are not given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from click.core import ParameterSource

#: By preset, values of parameters of the command.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    # DiffuCoder, appendix: 512 tokens in as many steps, by lowest entropy and top-p 0.95; the best of three
    # temperatures is reported.
    "diffucoder": {
        "templates": ("diffucoder",),
        "temperatures": (0.2, 0.3, 0.4),
        "completion_length": 512,
        "decoder": "entropy",
        "top_p": 0.95,
        "samples": 1,
        "seeds": (0,),
    },
    # Ours: the same prompts and lengths, at one temperature that is named beforehand, over three seeds. Nothing is
    # chosen by the score, and chance is shown beside it.
    "couplet": {
        "templates": ("diffucoder",),
        "temperatures": (0.2,),
        "completion_length": 512,
        "decoder": "entropy",
        "top_p": 0.95,
        "samples": 1,
        "seeds": (0, 1, 2),
    },
}


def apply_preset(name: str | None, options: dict[str, Any], causal: bool) -> dict[str, Any]:
    """Return the options of the current command with those of a preset in place of what was not given.

    A causal model has no decoder.
    """
    context = click.get_current_context()
    asked = {} if name is None else PRESETS[name]
    return options | {
        option: value
        for option, value in asked.items()
        if context.get_parameter_source(option) is ParameterSource.DEFAULT and not (causal and option == "decoder")
    }
