from __future__ import annotations

import json

from click.testing import CliRunner

from benchmarks.command_reward_functions import reward_functions


def test_both_ways_to_call_a_function_are_timed() -> None:
    result = CliRunner().invoke(reward_functions, ["--rounds", "3", "--group-size", "2", "--json"])
    assert result.exit_code == 0, result.output
    cost = json.loads(result.output.splitlines()[-1])
    assert cost["extra_us"] == (cost["process_us"] - cost["here_us"]) / 2
    assert min(cost["here_us"], cost["process_us"]) > 0.0
