from __future__ import annotations

import json

from click.testing import CliRunner

from orchestrator.commands.main import main


def test_it_counts_groups_and_times_a_backlog() -> None:
    arguments = ["--producers", "4", "--groups", "40", "--backlogs", "20,0", "--completions", "2", "--tokens", "8"]
    result = CliRunner().invoke(main, ["bench", "streams", *arguments, "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout.splitlines()[-1])
    assert found["throughput"]["rate"] > 0
    assert [cost["messages"] for cost in found["backlogs"]] == [0, 20]
    assert found["backlogs"][1]["memory_mb"] > found["backlogs"][0]["memory_mb"]


def test_backlogs_are_numbers() -> None:
    result = CliRunner().invoke(main, ["bench", "streams", "--backlogs", "many"])
    assert result.exit_code == 2
    assert "'many' is not a list of numbers" in result.output
