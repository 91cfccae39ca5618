"""The arithmetic of a 7B model: what PyTorch counts is what our formula says, and the tables go by it."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from orchestrator.commands.main import main


def test_seven_billion_parameters_are_counted_without_holding_them() -> None:
    result = CliRunner().invoke(main, ["bench", "flops", "--context", "4096", "--json"])
    assert result.exit_code == 0, result.output
    (count,) = json.loads(result.stdout.splitlines()[-1])["counts"]
    assert count["formula"] == pytest.approx(count["counted"], rel=0.01)
    # 6 FLOP for each of the 7.07 B parameters outside the embeddings, half of the head's, and attention.
    assert 6 * 6.5 < count["counted"] < 6 * 8.5


def test_a_model_that_is_not_known_is_refused() -> None:
    result = CliRunner().invoke(main, ["bench", "flops", "nobody/knows"])
    assert result.exit_code == 2
    assert "apple/DiffuCoder-7B-Base" in result.output
