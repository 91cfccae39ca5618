"""Estimators and objectives of the user's: their options and errors. ``test_engine.py`` trains with them."""

from __future__ import annotations

from typing import Any

import pytest

from common.config import Config, LearnerConfig
from common.likelihood.registry import make_estimator
from common.plugins import PluginError
from learner.objectives.registry import make_objective
from learner.resume_compatibility import changes, recorded_settings
from tests.learner.user_parts import Parts, Reinforce

HERE = "tests.learner.user_parts"


def config_of(**learner: Any) -> Config:
    return Config.model_validate(
        {"model": {"path": "builtin:quickstart"}, "data": {"source": "synthetic"}, "learner": learner}
    )


def test_options_reach_the_classes() -> None:
    learner = LearnerConfig.model_validate(
        {
            "estimator": {"kind": f"{HERE}:Parts", "share": 0.25},
            "objective": {"kind": f"{HERE}:Reinforce", "scale": 2},
        }
    )
    assert make_estimator(learner.estimator, 2) == Parts(0.25)
    assert make_objective(learner.objective) == Reinforce(scale=2.0)
    assert LearnerConfig.model_validate(learner.model_dump(mode="json")) == learner


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (
            {"kind": "Reinforce", "scale": -1},
            f"objective '{HERE}:Reinforce': scale: Input should be greater",
        ),
        ({"kind": "Parts", "shore": 1}, f"objective '{HERE}:Parts': shore: unknown key; known keys here: share"),
        ({"kind": "Parts"}, f"objective '{HERE}:Parts': lacks by_token, .*; docs/extending.md says what it needs"),
        ({"kind": "Unfinished", "x": 1}, f"objective '{HERE}:Unfinished': .*; its options are x"),
        ({"kind": "HERE"}, f"'{HERE}' has no 'HERE'"),
    ],
)
def test_what_cannot_be_made_is_refused_by_name(objective: dict[str, Any], message: str) -> None:
    config = LearnerConfig.model_validate({"objective": {**objective, "kind": f"{HERE}:{objective['kind']}"}})
    with pytest.raises(PluginError, match=message):
        make_objective(config.objective)


def test_options_bind_a_resumed_run_like_those_of_ours() -> None:
    made_with = config_of(estimator={"kind": f"{HERE}:Parts", "share": 0.25})
    present = config_of(estimator={"kind": f"{HERE}:Parts", "share": 0.5})
    found = changes(recorded_settings(made_with), present)
    assert found.binding == {"learner.estimator.share": (0.25, 0.5)}
