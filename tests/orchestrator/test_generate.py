from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result

from common.records import Rollout
from orchestrator.commands.main import main


def generate(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, ["generate", "quickstart.yaml", *arguments], input=stdin)


def test_completions_are_shown_with_the_order_of_decoding() -> None:
    result = generate("--prompt", "# Return 3.\ndef f(x):\n", "data.train_tasks=10", "data.held_out_tasks=2")
    assert result.exit_code == 0, result.output
    assert result.output.startswith("# Return 3.\ndef f(x):")
    assert result.output.count("forward passes") == 2
    assert "AR-ness local" in result.output
    assert "of all commits, after the end too" in result.output


def test_json_is_one_rollout_record_a_line() -> None:
    result = generate("--prompt", "-", "--samples", "3", "--json", "rollout.decoder=random", stdin="def f(x):\n")
    assert result.exit_code == 0, result.output
    rollouts = [Rollout.model_validate(json.loads(line)) for line in result.output.splitlines()]
    assert [rollout.sample for rollout in rollouts] == [0, 1, 2]
    assert len({rollout.completion_ids for rollout in rollouts}) > 1
    again = generate("--prompt", "-", "--samples", "3", "--json", "rollout.decoder=random", stdin="def f(x):\n")
    assert again.output == result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prompt", ""], "the prompt is empty"),
        (["--prompt", "x = 1\n" * 400], "the prompt is too long"),
        (["rollout.top_p=0"], "rollout.top_p: Input should be greater than 0"),
        (["rollout.denoising_steps=29"], "denoising_steps: more steps than tokens"),
        (["rollout.decoder=magic"], "rollout.decoder"),
        (["rollout.block_length=5"], "block_length: must divide completion_length"),
        (["rollout.approximate_cache=dual"], "approximate_cache: is renewed at every block; set block_length"),
        (["model.path=/no/such/model"], "no such folder"),
    ],
)
def test_bad_input_is_one_clear_error(arguments: list[str], message: str) -> None:
    result = generate(*arguments)
    assert result.exit_code == 2
    assert result.output.startswith("error: ")
    assert message in result.output
