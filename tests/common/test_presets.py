from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from common.config import (
    ConfigError,
    CoupledConfig,
    DecoupledConfig,
    ElboConfig,
    FullMaskConfig,
    GrpoConfig,
    LearnerConfig,
    Section,
    SequenceConfig,
    TraceConfig,
    VrpoConfig,
    dump_config,
    load_config,
)
from common.likelihood.coupled import CoupledEstimator
from common.likelihood.elbo import CountedElboEstimator
from common.likelihood.elbo_blocks import BlockElboEstimator
from common.likelihood.elbo_quadrature import QuadratureElboEstimator
from common.likelihood.elbo_systematic import SystematicElboEstimator
from common.likelihood.full_mask import FullMaskEstimator
from common.likelihood.left_to_right import LeftToRightEstimator
from common.likelihood.random_mask import RandomMaskEstimator
from common.likelihood.registry import make_estimator
from common.likelihood.trace import TraceEstimator
from common.likelihood.views import Estimator
from common.presets import PRESETS, Preset
from learner.objectives.bgpo import BoundaryGuided
from learner.objectives.gdsd import GuidedDistillation
from learner.objectives.grpo import TokenGrpo
from learner.objectives.objective import Objective
from learner.objectives.ratios import Clip
from learner.objectives.registry import make_objective
from learner.objectives.sequence import SequenceGrpo
from learner.objectives.spg import SandwichedGradient
from learner.objectives.stable_drl import SelfNormalizedGradient
from learner.objectives.vrpo import PreferenceLoss
from learner.objectives.wd1 import WeightedLikelihood

MINIMAL = {"model": {"path": "builtin:quickstart"}, "data": {"source": "synthetic"}}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(MINIMAL))
    return path


def test_presets_are_those_that_can_be_named() -> None:
    assert set(PRESETS) == set(get_args(Preset))


def test_every_preset_says_all_that_another_could_leave_behind() -> None:
    fields = {field for preset in PRESETS.values() for field in preset}
    assert all(preset.keys() == fields for preset in PRESETS.values())


def test_a_preset_is_the_same_however_yaml_spells_it(recipe: Path) -> None:
    plain = load_config(recipe, ["learner.preset=wd1", "reward.preset=diffucoder"])
    for spelled in ("'{}'", '"{}"', " {} "):
        overrides = [f"learner.preset={spelled.format('wd1')}", f"reward.preset={spelled.format('diffucoder')}"]
        assert load_config(recipe, overrides) == plain
    kind = plain.learner.estimator.kind
    options = ["learner.preset=wd1", "learner.estimator.prompt_mask=0.5"]
    assert load_config(recipe, [*options, f"learner.estimator.kind='{kind}'"]) == load_config(recipe, options)


@pytest.mark.parametrize("name", get_args(Preset))
def test_a_preset_sets_its_fields_and_survives_a_round_trip(recipe: Path, tmp_path: Path, name: str) -> None:
    overrides = [f"learner.preset={name}"]
    if name == "justgrpo":
        overrides += ["rollout.block_length=1"]
    config = load_config(recipe, overrides)
    found = config.learner.model_dump()
    for field, value in PRESETS[name].items():
        assert found[field].items() >= value.items() if isinstance(value, dict) else found[field] == value
    dumped = tmp_path / "dumped.yaml"
    dumped.write_text(dump_config(config))
    assert load_config(dumped) == config


def learner_of(recipe: Path, *overrides: str, **stated: Any) -> dict[str, Any]:
    """The learner's section as it results from what the recipe states of it, and overrides."""
    recipe.write_text(yaml.safe_dump(MINIMAL | {"learner": stated}))
    return load_config(recipe, [f"learner.{override}" for override in overrides]).learner.model_dump()


def test_inside_a_recipe_a_preset_only_fills_in(recipe: Path) -> None:
    learner = learner_of(recipe, preset="d1", objective={"clip": 0.3}, inner_iterations=2)
    assert learner["estimator"]["kind"] == "full_mask"
    assert (learner["objective"]["clip"], learner["objective"]["kl_weight"]) == (0.3, 0.04)
    assert learner["inner_iterations"] == 2


@pytest.mark.parametrize(
    ("preset", "stated", "section"),
    [
        # The kind's own defaults, which are none of another paper's.
        ("espo", {"estimator": "coupled"}, CoupledConfig()),
        ("diffucoder", {"estimator": "full_mask"}, FullMaskConfig(prompt_mask=0.0)),
        ("d1", {"estimator": "elbo"}, ElboConfig()),
        ("spg", {"objective": "vrpo"}, VrpoConfig()),
        ("diffucoder", {"objective": "sequence"}, SequenceConfig(clip=0.5, kl_weight=0.01, kl="k2")),
        # What two kinds share is the preset's.
        ("diffucoder", {"estimator": "decoupled"}, DecoupledConfig()),
        ("unigrpo", {"objective": "sequence"}, SequenceConfig(clip=0.2)),
        (
            "tracerl",
            {"objective": {"kind": "sequence", "clip": 0.1}},
            SequenceConfig(clip=0.1, kl_weight=0.08, kl_to="step_start"),
        ),
        ("gdpo", {"objective": "grpo"}, GrpoConfig(clip=0.5, kl_weight=0.0)),
    ],
)
def test_another_kind_takes_of_a_preset_what_both_have(
    recipe: Path, preset: str, stated: dict[str, Any], section: Section
) -> None:
    (field,) = stated
    assert learner_of(recipe, preset=preset, **stated)[field] == section.model_dump()
    kind = stated[field] if isinstance(stated[field], str) else stated[field]["kind"]
    if kind == stated[field]:
        assert learner_of(recipe, f"{field}.kind={kind}", preset=preset)[field] == section.model_dump()


def test_presets_say_how_often_and_on_what_they_train() -> None:
    """Values of the released code; docs/algorithms.md names the files."""
    found = {
        name: (
            learner.advantage,
            learner.inner_iterations,
            learner.minibatches,
            learner.positions,
            learner.zero_variance_groups,
        )
        for name in get_args(Preset)
        for learner in (LearnerConfig(preset=name),)
    }
    assert found == {
        "diffucoder": ("mean", 2, 1, "text", "score"),
        "diffucoder_loo": ("loo", 2, 1, "text", "score"),
        "d1": ("mean", 12, 1, "text", "score"),
        "unigrpo": ("mean_std", 4, 1, "text", "score"),
        "espo": ("loo", 8, 1, "all", "score"),
        "gdpo": ("mean", 12, 1, "all", "score"),
        "wd1": ("mean", 12, 1, "text", "score"),
        "tracerl": ("mean_std", 1, 16, "text", "skip"),
        "justgrpo": ("mean_sample_std", 1, 1, "all", "skip"),
        "spg": ("mean", 4, 1, "text", "score"),
        "vrpo": ("mean", 1, 1, "text", "score"),
        "bgpo": ("mean_sample_std", 1, 1, "text", "score"),
        "gdsd": ("loo", 8, 1, "all", "score"),
        "stable_drl": ("mean", 2, 1, "text", "score"),
    }


def test_a_preset_on_the_command_line_replaces_the_algorithm_of_a_recipe_and_no_other_override(
    recipe: Path,
) -> None:
    stated = {"objective": {"clip": 0.9, "kl": "k2"}, "estimator": "trace", "advantage": "loo", "ranks": 2}
    learner = learner_of(recipe, "objective.kl_weight=0.5", "preset=d1", **stated)
    assert learner["objective"] == GrpoConfig(kl_weight=0.5).model_dump()
    assert (learner["advantage"], learner["estimator"]["kind"], learner["ranks"]) == ("mean", "full_mask", 2)


@pytest.mark.parametrize(
    ("stated", "overrides", "estimator"),
    [
        ({}, ["mask_pairs=2"], CoupledConfig(mask_pairs=2)),
        ({"mask_pairs": 3}, ["mask_pairs=2"], CoupledConfig(mask_pairs=2)),
        ({"kind": "coupled", "mask_pairs": 3}, ["kind=trace"], TraceConfig()),
        ({"kind": "coupled", "mask_pairs": 3}, ["merged_steps=4", "kind=trace"], TraceConfig(merged_steps=4)),
        ({"kind": "trace", "merged_steps": 3}, ["kind=trace"], TraceConfig(merged_steps=3)),
        ("trace", ["merged_steps=4"], TraceConfig(merged_steps=4)),
    ],
)
def test_overrides_reach_the_options_of_a_kind(
    recipe: Path, stated: Any, overrides: list[str], estimator: Section
) -> None:
    learner = learner_of(recipe, *(f"estimator.{override}" for override in overrides), estimator=stated)
    assert learner["estimator"] == estimator.model_dump()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("mask_pairs=2", "estimator.mask_pairs"),
        ("trace_merged_steps=2", "estimator.merged_steps"),
        ("clip=0.2", "objective.clip"),
        ("vrpo_beta=0.2", "objective.beta"),
    ],
)
def test_a_flat_key_is_refused_with_its_new_spelling(recipe: Path, old: str, new: str) -> None:
    with pytest.raises(ConfigError, match=rf"  learner\.{old.partition('=')[0]}: now learner\.{new}$"):
        load_config(recipe, [f"learner.{old}"])


@pytest.mark.parametrize(
    ("name", "estimator", "objective"),
    [
        ("diffucoder", CoupledEstimator(1, (0.2, 0.8), "paper"), TokenGrpo(Clip(0.5, 0.5), 0.01)),
        ("d1", FullMaskEstimator(0.15), TokenGrpo(Clip(0.5, 0.5), 0.04)),
        ("unigrpo", RandomMaskEstimator(4), TokenGrpo(Clip(0.2, 0.2), 0.01)),
        ("espo", CountedElboEstimator(2), SequenceGrpo(Clip(0.2, 0.2), 0.01, "k2")),
        ("gdpo", QuadratureElboEstimator(3), SequenceGrpo(Clip(0.5, 0.5), 0.0, "k2")),
        ("wd1", FullMaskEstimator(0.15), WeightedLikelihood()),
        ("tracerl", TraceEstimator(8), TokenGrpo(Clip(0.2, 0.2), 0.08, kl_to="step_start")),
        ("justgrpo", LeftToRightEstimator(), TokenGrpo(Clip(0.2, 0.2), 0.0)),
        ("spg", BlockElboEstimator(2, 32, 0.15), SandwichedGradient(1.5, 0.5)),
        ("vrpo", CountedElboEstimator(4), PreferenceLoss(0.2)),
        ("bgpo", SystematicElboEstimator(16), BoundaryGuided(Clip(0.2, 0.2), 3.0)),
        ("gdsd", CountedElboEstimator(4), GuidedDistillation(10.0, 0.0004, 0.05)),
        (
            "stable_drl",
            BlockElboEstimator(2, 32, 0.15),
            SelfNormalizedGradient(SandwichedGradient(1.5, 0.5), 5.0),
        ),
    ],
)
def test_presets_are_the_published_algorithms(name: Any, estimator: Estimator, objective: Objective) -> None:
    learner = LearnerConfig(preset=name)
    assert make_estimator(learner.estimator, learner.inner_iterations) == estimator
    assert make_objective(learner.objective) == objective


def test_the_clip_has_two_sides_and_decoupled_masks_have_no_complements() -> None:
    assert make_objective(SequenceConfig(clip=0.1, clip_high=0.3)) == SequenceGrpo(Clip(0.1, 0.3), 0.01, "k2")
    assert make_estimator(DecoupledConfig(mask_pairs=3), 1) == CoupledEstimator(3, complements=False)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["learner.preset=grpo2"], "learner.preset: Input should be 'diffucoder'"),
        (["learner.preset=[wd1]"], "learner.preset: Input should be 'diffucoder'"),
        (["reward.preset={name: diffucoder}"], "reward.preset: Input should be 'diffucoder'"),
        (["learner.preset=justgrpo"], "set rollout.block_length: 1"),
        (
            ["learner.estimator=cupled"],
            "estimator.kind: 'cupled' is no estimator known here; choose one of coupled,",
        ),
        (["learner.objective.kind=vrpo"], "set estimator to elbo"),
        (["learner.objective=spg"], "set estimator to elbo"),
        (["learner.objective=bgpo"], "set estimator to elbo"),
        (["learner.zero_offload=optimizer"], "set zero_stage to 1, 2 or 3"),
        (["learner.zero_offload=all", "learner.zero_stage=2"], "set zero_stage: 3"),
        (["learner.compile=true", "learner.zero_stage=3"], "set zero_stage below 3"),
        (["learner.lora={}", "learner.zero_stage=3"], "set zero_stage below 3"),
        (["learner.preset=wd1", "learner.off_policy_cap=2"], "only the grpo objective"),
        (["learner.preset=unigrpo", "learner.off_policy_cap=2"], "does not measure every token"),
        (["learner.positions=all", "learner.off_policy_cap=2"], "set positions: text"),
        (["learner.positions=all", "learner.estimator=trace"], "set positions: text"),
        (["learner.estimator.mask_ratio=[0.8, 0.2]"], "learner.estimator: mask_ratio: needs 0 < low <= high < 1"),
        (["learner.estimator={kind: decoupled, mask_ratio: [0.1, 0.5]}"], "symmetric about 0.5"),
    ],
)
def test_what_does_not_go_together_is_refused_with_a_remedy(
    recipe: Path, overrides: list[str], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(recipe, overrides)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("settings", "needed"),
    [
        ({}, True),
        ({"objective": {"kl_weight": 0.0}}, False),
        ({"objective": {"kl_to": "step_start"}}, False),
        ({"preset": "tracerl"}, False),
        ({"preset": "wd1"}, False),
        ({"preset": "spg"}, False),
        ({"preset": "vrpo"}, True),
        ({"preset": "bgpo"}, False),
        ({"preset": "gdsd"}, True),
        ({"preset": "gdsd", "objective": {"kl_weight": 0.0}}, False),
        ({"preset": "stable_drl"}, False),
    ],
)
def test_who_needs_a_reference(settings: dict[str, Any], needed: bool) -> None:
    assert make_objective(LearnerConfig.model_validate(settings).objective).needs_reference is needed
