from __future__ import annotations

import json

from click.testing import CliRunner, Result

from orchestrator.commands.main import main

SMALL = ("data.train_tasks=10", "data.held_out_tasks=6", "rollout.temperature=0")


def agreement(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["bench", "agreement", "quickstart.yaml", *SMALL, *arguments])


def test_it_says_how_far_a_cache_is_from_the_exact_engine() -> None:
    result = agreement(
        "rollout.block_length=7", "rollout.denoising_steps=28", "rollout.approximate_cache=dual", "--json"
    )
    assert result.exit_code == 0, result.output
    found = json.loads(result.output.splitlines()[-1])
    assert found["completions"] == 6
    assert found["sampler"]["approximate_cache"] == "dual"
    assert 0 < found["logprob_gap"] < 0.1
    assert 0 < found["same_tokens"] <= 1


def test_an_exact_recipe_has_nothing_to_compare() -> None:
    result = agreement()
    assert result.exit_code == 2
    assert "approximates nothing" in result.output


def test_bounds_of_locking_are_laid_out_with_what_they_cost_and_save() -> None:
    result = agreement("rollout.denoising_steps=28", "--locking", "0.001", "--locking", "1000", "--json")
    assert result.exit_code == 0, result.output
    near, far = json.loads(result.output.splitlines()[-1])["samplers"]
    assert [each["sampler"]["approximate_locking"] for each in (near, far)] == [0.001, 1000]
    assert 0 <= near["kl"] < far["kl"]
    for shape, saving in near["saving"].items():
        assert saving < far["saving"][shape]
