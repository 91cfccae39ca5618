"""The comparison of the stages is a fair one: both sides give the same gradient. No assertion is about time."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import torch
from click.testing import CliRunner

from benchmarks.stages import STAGES, Settings, some_segments
from orchestrator.commands.main import main


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_both_sides_of_every_stage_give_one_gradient() -> None:
    tiny = {"--vocab": 200, "--hidden": 64, "--layers": 2, "--context": 48, "--sequences": 3, "--batch-tokens": 96}
    words = [str(word) for pair in {**tiny, "--repeats": 1, "--threads": 1}.items() for word in pair]
    result = CliRunner().invoke(main, ["bench", "stages", "--device", "cpu", "--json", *words])
    assert result.exit_code == 0, result.output
    cases = json.loads(result.stdout.splitlines()[-1])["cases"]
    assert [case["stage"] for case in cases] == list(STAGES)
    for case in cases:
        assert case["gradient_difference"] < 1e-4
        assert case["tokens"] == 3 * 48
        assert case["flops"] > 0


@pytest.mark.parametrize("stage", STAGES)
def test_segments_fill_their_sequences(stage: str) -> None:
    settings = Settings(200, 64, 2, 96, 5, 192, 1, torch.float32)
    segments = some_segments(settings, stage)
    assert sum(map(len, segments)) == 5 * 96
    assert any(segment.padding for segment in segments) == (stage == "sft")
    assert (len(segments) > 5) == (stage != "sft"), "several documents to a sequence"


def test_a_width_that_is_no_number_of_heads_is_refused() -> None:
    result = CliRunner().invoke(main, ["bench", "stages", "--hidden", "100"])
    assert result.exit_code == 2
    assert "--hidden" in result.output
