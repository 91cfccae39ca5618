"""Rewards of more than one completion, of a service far away, of a task's columns and of the decoding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from common.config import RewardConfig, RewardFunctionConfig
from common.records import Task, TestCase, Verdict
from reward_service.built_in import tokens_per_forward
from reward_service.configured import make_scorer
from reward_service.rewards import JudgedCompletion, RewardRule
from reward_service.scoring import Scorer
from reward_service.user_rewards import Decoding, RewardFunctionError, load_reward_functions
from sandbox.jail.backend import JailSandbox
from sandbox.types import Outcome
from tests.reward_service import composed_rewards
from tests.reward_service.scoring_tools import BAD, GOOD, HALF, TASK, FakeSandbox, outcome
from tests.service_process import ServiceUnderTest, service

P, INFRA = Verdict.PASSED, Verdict.INFRA
PLAIN = Task(id="t", prompt="", tests=(TestCase(call="f()", expected="0"),), metadata={"level": 3})
FUNCTIONS = [
    {"path": f"{composed_rewards.__name__}:rank", "weight": 0.5, "scope": "group"},
    {"path": f"{composed_rewards.__name__}:level", "weight": -0.25},
    {"path": "static_check", "weight": 0.25},
    {"path": "tokens_per_forward", "weight": 0.125},
]
TEXTS = [GOOD, HALF, BAD, GOOD, "    return a +", "    return undefined\n"]
DECODINGS = [Decoding(8 + number, 4) for number in range(len(TEXTS))]


def rule_of(name: str, scope: str = "completion", timeout_s: float = 60.0) -> RewardRule:
    path = f"{composed_rewards.__name__}:{name}"
    setting = RewardFunctionConfig.model_validate({"path": path, "scope": scope, "timeout_seconds": timeout_s})
    return RewardRule(functions=load_reward_functions([setting]))


def completions(*texts: str, verdict: Verdict = P) -> list[JudgedCompletion]:
    return [JudgedCompletion(text, "x = 1\n", (verdict,)) for text in texts]


def component(rule: RewardRule, group: Sequence[JudgedCompletion], task: Task = PLAIN) -> list[float | None]:
    (named,) = rule.functions
    return [score.components.get(named.name) for score in rule.scores(task, group)]


@pytest.mark.parametrize("name", ["rank", "asked_rank"])
def test_a_group_function_sees_the_completions_that_count(name: str) -> None:
    broken, *rest = completions("the longest", "long", "a", "bb")
    group = [rest[0], replace(broken, verdicts=(INFRA,)), *rest[1:]]
    rule = rule_of(name, "group")
    assert component(rule, group) == [2 / 3, None, 0.0, 1 / 3]
    assert [score.excluded for score in rule.scores(PLAIN, group)] == [False, True, False, False]
    assert component(rule, completions("a", "b", verdict=INFRA)) == [None, None]


@pytest.mark.parametrize(
    ("name", "answer"), [("too_few", "1 numbers for 2 completions"), ("one_number", "1.0, not")]
)
def test_a_group_function_answers_for_every_completion(name: str, answer: str) -> None:
    with pytest.raises(RewardFunctionError, match=f"reward.functions: {name} returned {answer}"):
        rule_of(name, "group").scores(PLAIN, completions("a", "b"))


def test_a_group_function_that_yields_fails_like_one_that_returns() -> None:
    with pytest.raises(RewardFunctionError, match="yields_and_raises raised KeyError: 'judge', on task 't'"):
        rule_of("yields_and_raises", "group").scores(PLAIN, completions("a", "b"))
    scores = rule_of("yields_and_cannot_tell", "group").scores(PLAIN, completions("a", "b"))
    assert [score.excluded for score in scores] == [True, True]


@pytest.mark.parametrize(("name", "error"), [("exits", "SystemExit: 3"), ("of_another_loop", "RuntimeError: ")])
def test_an_async_function_cannot_end_the_loop_of_the_others(name: str, error: str) -> None:
    with pytest.raises(RewardFunctionError, match=f"{name} raised {error}"):
        rule_of(name).scores(PLAIN, completions("a"))
    assert component(rule_of("stops_the_loop"), completions("a")) == [2.0]
    assert component(rule_of("asked_rank", "group"), completions("a")) == [0.0]


def test_async_functions_of_a_group_run_at_the_same_time() -> None:
    assert component(rule_of("meeting"), completions("a", "bb", "ccc")) == [1.0, 2.0, 3.0]


def test_an_async_function_that_is_late_is_an_error_and_no_reward() -> None:
    problem = r"never did not answer within 0\.05 s \(.*timeout_seconds\), on task 't'"
    with pytest.raises(RewardFunctionError, match=problem):
        rule_of("never", timeout_s=0.05).scores(PLAIN, completions("a", "b"))
    with pytest.raises(RewardFunctionError, match="late_judge raised TimeoutError: the judge is down"):
        rule_of("late_judge").scores(PLAIN, completions("a"))
    assert component(rule_of("asked_rank", "group"), completions("a")) == [0.0]


def test_a_function_that_cannot_tell_excludes_what_it_was_asked_of() -> None:
    scores = rule_of("unknown_of_a").scores(PLAIN, completions("a", "b"))
    assert [(score.excluded, score.reward > 0.0) for score in scores] == [(True, False), (False, True)]
    together = rule_of("unknown_group", "group").scores(PLAIN, completions("a", "b"))
    assert [score.excluded for score in together] == [True, True]


def test_metadata_reaches_the_functions() -> None:
    assert component(rule_of("level"), completions("a")) == [3.0]
    assert component(rule_of("level"), completions("a"), Task.decode(PLAIN.encode())) == [3.0]


def test_tokens_per_forward_needs_to_know_the_decoding() -> None:
    rule = RewardRule(
        functions=load_reward_functions(
            [RewardFunctionConfig(path="tokens_per_forward")], {"tokens_per_forward": tokens_per_forward}
        )
    )
    (one,) = completions("a")
    assert component(rule, [replace(one, decoding=Decoding(tokens=30, forwards=12))]) == [2.5]
    with pytest.raises(RewardFunctionError, match="not known how the completion was decoded"):
        rule.scores(PLAIN, [one])


def test_a_reward_that_the_sandbox_failed_under_is_unknown_and_not_zero() -> None:
    config = RewardConfig.model_validate({"functions": [{"path": "static_check"}], "hacking_probe": 0.0})
    passes = FakeSandbox(outcome(Outcome.ERROR))
    scorer = make_scorer(config, passes)
    with_import = "    import math\n    return math.floor(a) + b\n"
    assert [score.excluded for score in scorer.score_group(TASK, [GOOD, with_import])] == [False, False]
    scorer.close()
    fails_on_imports = FakeSandbox(
        lambda program, case: outcome(Outcome.INFRA if "bound_by" in program.source else Outcome.ERROR)(
            program, case
        )
    )
    scorer = make_scorer(config, fails_on_imports)
    known, unknown = scorer.score_group(TASK, [GOOD, with_import])
    assert (known.excluded, known.components["static_check"]) == (False, 1.0)
    assert (unknown.excluded, unknown.reward, "static_check" in unknown.components) == (True, 0.0, False)
    scorer.close()


@pytest.fixture(scope="module")
def composed(sandbox: JailSandbox) -> Iterator[Scorer]:
    config = RewardConfig.model_validate({"functions": FUNCTIONS, "hacking_probe": 0.0})
    scorer = make_scorer(config, sandbox)
    yield scorer
    scorer.close()


@pytest.fixture(scope="module")
def running() -> Iterator[ServiceUnderTest]:
    functions = ", ".join(
        "{" + ", ".join(f"{key}: {value!r}" for key, value in function.items()) + "}" for function in FUNCTIONS
    )
    with service("reward.hacking_probe=0", f"reward.functions=[{functions}]") as under_test:
        yield under_test


def test_all_of_them_together_and_the_same_over_http(composed: Scorer, running: ServiceUnderTest) -> None:
    task = TASK.model_copy(update={"metadata": {"level": 2}})
    scores = composed.score_group(task, TEXTS, DECODINGS)
    ranks = [sum(len(other) < len(text) for other in TEXTS) / len(TEXTS) for text in TEXTS]
    assert len(set(ranks)) > 2
    for score, rank, decoding in zip(scores, ranks, DECODINGS, strict=True):
        parts = score.components
        assert (parts["rank"], parts["level"], parts["tokens_per_forward"]) == (rank, 2.0, decoding.tokens / 4)
        assert score.reward == pytest.approx(sum(score.weights[name] * value for name, value in parts.items()))
    assert [score.components["static_check"] for score in scores] == [1.0, 1.0, 1.0, 1.0, 0.0, 2 / 3]

    asked: dict[str, Any] = {"id": "g", "task": task.model_dump(mode="json"), "completions": TEXTS}
    asked["decodings"] = [{"tokens": one.tokens, "forwards": one.forwards} for one in DECODINGS]
    line, summary = running.score(asked)
    assert [score["components"] for score in line["scores"]] == [score.components for score in scores]
    assert [score["reward"] for score in line["scores"]] == [score.reward for score in scores]
    assert (summary["summary"]["excluded"], summary["summary"]["errors"]) == (0, 0)


def test_a_late_group_that_is_rewarded_as_a_whole_is_excluded_as_a_whole(running: ServiceUnderTest) -> None:
    task = TASK.model_dump(mode="json") | {"metadata": {"level": 1}}
    sleeps = "    import time\n    time.sleep(1)\n    return a + b\n"
    line, summary = running.score({"id": "g", "task": task, "completions": [GOOD, sleeps]}, deadline_s=0.5)
    assert [(score["excluded"], score["components"]) for score in line["scores"]] == [(True, {})] * 2
    assert (summary["summary"]["excluded"], summary["summary"]["late"]) == (2, True)


def test_a_function_that_fails_over_http_is_the_groups_error(running: ServiceUnderTest) -> None:
    task = TASK.model_dump(mode="json")
    line, _ = running.score({"id": "g", "task": task, "completions": TEXTS})
    assert line["error"] == "reward.functions: level raised KeyError: 'level', on task 'add'"
    refused = running.client.post(
        "/v1/score",
        json={"groups": [{"id": "g", "task": task, "completions": TEXTS, "decodings": []}]},
    )
    assert (refused.status_code, "give one a completion" in refused.json()["error"]["message"]) == (422, True)
