from __future__ import annotations

import json

import pytest

from common.records import (
    PromptGroup,
    Purpose,
    Rollout,
    RolloutGroup,
    Sampler,
    Score,
    Task,
    TestCase,
    TrajectoryGroup,
    Verdict,
)
from orchestrator.rounds import evaluate

PASS, FAIL, INFRA = Verdict.PASSED, Verdict.FAILED, Verdict.INFRA


def prompt(index: int, family: str, samples: int) -> PromptGroup:
    return PromptGroup(
        run_id="r",
        purpose=Purpose.EVALUATION,
        evaluation=4,
        index=index,
        seed=0,
        task=Task(
            id=f"task-{index}", family=family, prompt="def f():", tests=(TestCase(call="f()", expected="1"),)
        ),
        group_size=samples,
        min_version=4,
        sampler=Sampler(temperature=0.0, top_p=1.0, denoising_steps=1, completion_length=1),
    )


def scored(index: int, family: str, *verdicts: tuple[Verdict, ...]) -> TrajectoryGroup:
    asked = prompt(index, family, len(verdicts))
    rollouts = tuple(
        Rollout(
            sample=i,
            completion_ids=(2,),
            text=f"{index}.{i}",
            end=1,
            step_map=(0,),
            logprobs=(0.0,),
            model_logprobs=(0.0,),
            forwards=1,
            versions=(4, 4),
        )
        for i in range(len(verdicts))
    )
    return TrajectoryGroup(
        prompt=asked,
        rollouts=RolloutGroup(
            prompt=asked,
            prompt_ids=(3,),
            tokenizer_hash="h",
            version=4,
            worker="w",
            seconds=0.0,
            rollouts=rollouts,
        ),
        scores=tuple(Score(reward=0.0, components={}, verdicts=v, excluded=INFRA in v) for v in verdicts),
        worker="w",
        seconds=0.0,
    )


GROUPS = [
    scored(3, "lists", (PASS, FAIL), (PASS, PASS)),
    scored(0, "strings", (PASS, PASS), (PASS, PASS)),
    scored(1, "lists", (INFRA, PASS), (FAIL, FAIL)),
    scored(2, "strings", (INFRA,), (INFRA,)),
    TrajectoryGroup.from_lost(prompt(4, "lists", 2), "w", "gone"),
]


def test_pass_rate_is_the_mean_over_counted_completions() -> None:
    found = evaluate(4, GROUPS)
    assert found.pass_rate == pytest.approx(3 / 5)
    assert found.by_family == {"lists": (1, 3), "strings": (2, 2)}


def test_programs_show_the_first_counted_completion_of_each_task_in_order() -> None:
    programs = evaluate(4, GROUPS).programs
    assert [(p["task_id"], p["completion"], p["passed"]) for p in programs] == [
        ("task-0", "0.0", True),
        ("task-1", "1.1", False),
        ("task-3", "3.0", False),
    ]


def test_the_result_does_not_depend_on_the_order_of_arrival() -> None:
    assert evaluate(4, GROUPS[::-1]) == evaluate(4, GROUPS)


def test_the_record_is_plain_json() -> None:
    record = json.loads(json.dumps(evaluate(4, GROUPS).as_record()))
    assert (record["step"], record["tasks"], record["pass_rate"]) == (4, 3, pytest.approx(0.6))
    assert record["by_family"]["lists"] == [1, 3]


def test_a_round_without_a_score_has_pass_rate_zero() -> None:
    found = evaluate(0, [GROUPS[-1]])
    assert (found.pass_rate, found.by_family, found.programs) == (0.0, {}, ())
