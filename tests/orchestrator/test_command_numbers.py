"""Numbers on the command line are as strict as those of a recipe."""

from __future__ import annotations

import math
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner
from click.types import FloatParamType

from orchestrator.commands.main import main
from tests.orchestrator.test_command_line import commands


def options(kind: type[click.ParamType]) -> Iterator[tuple[str, click.Parameter, click.ParamType]]:
    for path, command, _ in commands(main):
        for parameter in command.params:
            if isinstance(parameter.type, kind):
                yield f"{' '.join(path)} {parameter.opts[-1]}", parameter, parameter.type


def test_no_option_of_any_command_takes_what_is_no_finite_number() -> None:
    found = list(options(FloatParamType))
    assert len(found) > 8
    for name, parameter, kind in found:
        for text in ("nan", "inf", "-inf", "NaN", "1e999"):
            with pytest.raises(click.BadParameter):
                pytest.fail(f"{name} takes {text}: {kind.convert(text, parameter, None)}")


def test_every_seed_has_at_most_64_bits() -> None:
    seeds = [each for each in options(click.ParamType) if each[1].name == "seed"]
    assert len(seeds) >= 4
    for name, parameter, kind in seeds:
        assert kind.convert(str(2**64 - 1), parameter, None) == 2**64 - 1
        for text in (str(2**64), "-1"):
            with pytest.raises(click.BadParameter):
                pytest.fail(f"{name} takes {text}: {kind.convert(text, parameter, None)}")


@pytest.mark.parametrize(
    "option", [f"--temperature={math.nan}", f"--temperature=0,{math.inf}", f"--seeds={2**64}"]
)
def test_options_of_several_values_are_no_exception(option: str) -> None:
    result = CliRunner().invoke(main, ["evaluate", "builtin:quickstart", "builtin:quickstart", option])
    assert result.exit_code == 2, result.output
    assert option.partition("=")[0] in result.output
