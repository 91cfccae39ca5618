from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from common.config import ConfigError, LearnerConfig, dump_config, load_config
from common.likelihood.estimators import make_estimator
from common.likelihood.random_masks import CoupledEstimator, FullMaskEstimator
from common.presets import PRESETS, Preset
from learner.objective import TokenGrpo
from learner.objectives import make_objective
from learner.sequence_objectives import PreferenceLoss, SandwichedGradient, SequenceGrpo, WeightedLikelihood

MINIMAL = {"model": {"path": "builtin:quickstart"}, "data": {"source": "synthetic"}}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(MINIMAL))
    return path


def test_presets_are_those_that_can_be_named() -> None:
    assert set(PRESETS) == set(get_args(Preset))


@pytest.mark.parametrize("name", get_args(Preset))
def test_a_preset_sets_its_fields_and_survives_a_round_trip(recipe: Path, tmp_path: Path, name: str) -> None:
    overrides = [f"learner.preset={name}"]
    if name == "justgrpo":
        overrides += ["rollout.block_length=1"]
    config = load_config(recipe, overrides)
    for field, value in PRESETS[name].items():
        assert getattr(config.learner, field) == value
    dumped = tmp_path / "dumped.yaml"
    dumped.write_text(dump_config(config))
    assert load_config(dumped) == config


def test_what_a_recipe_sets_goes_before_the_preset(recipe: Path) -> None:
    learner = load_config(recipe, ["learner.preset=d1", "learner.clip=0.3", "learner.inner_iterations=2"]).learner
    assert (learner.estimator, learner.clip, learner.inner_iterations) == ("full_mask", 0.3, 2)
    assert learner.kl_weight == 0.04


def test_a_preset_on_the_command_line_goes_before_the_recipe_and_not_before_other_overrides(recipe: Path) -> None:
    recipe.write_text(yaml.safe_dump(MINIMAL | {"learner": {"clip": 0.9, "advantage": "loo", "ranks": 2}}))
    learner = load_config(recipe, ["learner.kl_weight=0.5", "learner.preset=d1"]).learner
    assert (learner.clip, learner.advantage, learner.estimator) == (0.5, "mean", "full_mask")
    assert (learner.kl_weight, learner.ranks) == (0.5, 2)


@pytest.mark.parametrize(
    ("name", "objective"),
    [
        ("diffucoder", TokenGrpo),
        ("d1", TokenGrpo),
        ("espo", SequenceGrpo),
        ("gdpo", SequenceGrpo),
        ("wd1", WeightedLikelihood),
        ("spg", SandwichedGradient),
        ("vrpo", PreferenceLoss),
        ("justgrpo", TokenGrpo),
    ],
)
def test_presets_pick_their_objective(name: Any, objective: type) -> None:
    assert isinstance(make_objective(LearnerConfig(preset=name)), objective)


def test_presets_pick_their_estimator() -> None:
    assert make_estimator(LearnerConfig(preset="diffucoder")) == CoupledEstimator(1, (0.2, 0.8), "paper")
    assert make_estimator(LearnerConfig(preset="wd1")) == FullMaskEstimator(0.15)
    decoupled = make_estimator(LearnerConfig(estimator="decoupled", mask_pairs=3))
    assert decoupled == CoupledEstimator(3, complements=False)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["learner.preset=grpo2"], "learner.preset: Input should be 'diffucoder'"),
        (["learner.preset=justgrpo"], "set rollout.block_length: 1"),
        (["learner.objective=vrpo"], "set estimator to elbo"),
        (["learner.objective=spg"], "set estimator to elbo"),
        (["learner.zero_offload=optimizer"], "set zero_stage to 1, 2 or 3"),
        (["learner.zero_offload=all", "learner.zero_stage=2"], "set zero_stage: 3"),
        (["learner.compile=true", "learner.zero_stage=3"], "set zero_stage below 3"),
        (["learner.lora={}", "learner.zero_stage=3"], "set zero_stage below 3"),
        (["learner.preset=wd1", "learner.off_policy_cap=2"], "only the grpo objective"),
        (["learner.preset=unigrpo", "learner.off_policy_cap=2"], "does not score every token"),
        (["learner.mask_ratio=[0.8, 0.2]"], "needs 0 < low <= high < 1"),
        (["learner.estimator=decoupled", "learner.mask_ratio=[0.1, 0.5]"], "symmetric about 0.5"),
    ],
)
def test_what_does_not_go_together_is_refused_with_a_remedy(
    recipe: Path, overrides: list[str], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(recipe, overrides)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 2


def test_who_needs_a_reference() -> None:
    assert LearnerConfig().needs_reference
    assert not LearnerConfig(kl_weight=0.0).needs_reference
    assert not LearnerConfig(preset="wd1", kl_weight=0.1).needs_reference
    assert LearnerConfig(preset="vrpo", kl_weight=0.0).needs_reference
