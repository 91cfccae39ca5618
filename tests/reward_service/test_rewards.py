from __future__ import annotations

from pathlib import Path

import pytest

from common.config import ConfigError, RewardConfig, RewardFunctionConfig, dump_config, load_config
from common.records import Score, Task, TestCase, Verdict
from reward_service.rewards import JudgedCompletion, RewardRule
from reward_service.user_rewards import load_reward_functions

TESTS = tuple(TestCase(call=f"f({number})", expected="0") for number in range(4))
TASK = Task(id="t", prompt="", completion="fenced", tests=TESTS, shown_tests=1)
WELL, BROKEN, LOOSE = "```python\nx = 1\n```\n", "```python\nx =\n```\n", "```python\nx = 1\n``` and so on"
P, F = Verdict.PASSED, Verdict.FAILED

MODULE = """
calls = []
def brevity(task, completion):
    calls.append((task.id, completion))
    return 1.0 / len(completion.text)
def raises(task, completion): return 1 / 0
def infinite(task, completion): return float("inf")
def endless(task, completion): return 10**400
def absent(task, completion): return None
def only_one(task): return 0.0
def tests(task, completion): return 0.0
number = 3
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of an importable module of reward functions."""
    name = f"rewards_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    (tmp_path / f"{name}_broken.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def score_of(rule: RewardRule, text: str, verdicts: tuple[Verdict, ...]) -> Score:
    """The score of a completion that is a group by itself."""
    (score,) = rule.scores(TASK, [JudgedCompletion(text, "x = 1\n", verdicts)])
    return score


def rule_of(module: str, *functions: str) -> RewardRule:
    settings = [RewardFunctionConfig(path=f"{module}:{name}", weight=0.5) for name in functions]
    return RewardRule(functions=load_reward_functions(settings))


@pytest.mark.parametrize(
    ("text", "reward"), [(WELL, 2.0 * 0.75 + 0.5), (BROKEN, 0.25), (LOOSE, 0.0)], ids=["well", "broken", "loose"]
)
def test_the_published_rewards(text: str, reward: float) -> None:
    config = RewardConfig(preset="diffucoder")  # type: ignore[call-arg]
    rule = RewardRule(
        config.tests, config.tests_weight, config.format_weight, code_needs_format=config.code_needs_format
    )
    assert score_of(rule, text, (P, P, P, F)).reward == reward


def test_the_tests_count_without_the_format_unless_told() -> None:
    assert score_of(RewardRule(), LOOSE, (P, P, P, F)).reward == 1.5


@pytest.mark.parametrize(("shown", "share"), [(0, 0.5), (1, 1 / 3), (2, 0.5), (4, 0.5), (9, 0.5)])
def test_shown_tests_do_not_count_unless_all_are_shown(shown: int, share: float) -> None:
    task = TASK.model_copy(update={"shown_tests": shown})
    rule = RewardRule(hide_shown_test=True)
    (score,) = rule.scores(task, [JudgedCompletion(WELL, "", (P, F, P, F))])
    assert score.components["tests"] == pytest.approx(share)


def test_presets_give_way_to_the_recipe_and_go_before_it_on_the_command_line(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "model: {path: builtin:quickstart}\ndata: {source: synthetic}\nreward: {tests_weight: 1.0, workers: 2}\n"
    )
    beside = load_config(recipe, ["reward.preset=diffucoder"]).reward
    assert (beside.tests_weight, beside.code_needs_format, beside.workers) == (2.0, True, 2)
    recipe.write_text(recipe.read_text().replace("workers: 2", "preset: diffucoder"))
    inside = load_config(recipe).reward
    assert (inside.tests_weight, inside.code_needs_format) == (1.0, True)
    whole = load_config(recipe, ["reward.functions=[{path: 'a.b:f', weight: -1}]"])
    dumped = tmp_path / "dumped.yaml"
    dumped.write_text(dump_config(whole))
    assert load_config(dumped) == whole


def test_a_reward_function_is_a_component_of_its_own(module: str) -> None:
    score = score_of(rule_of(module, "brevity"), WELL, (P, P, F, F))
    assert score.components == {"tests": 0.5, "format": 1.0, "brevity": 1.0 / len(WELL)}
    assert score.reward == pytest.approx(1.0 + 0.5 + 0.5 / len(WELL))
    (named,) = rule_of(module, "brevity").functions
    task_id, completion = named.function.__globals__["calls"][0]  # type: ignore[attr-defined]
    assert (task_id, completion.text, completion.program) == ("t", WELL, "x = 1\n")
    assert (completion.verdicts, completion.form) == ((P, P, F, F), 1.0)


def test_a_reward_of_an_installed_package_goes_by_its_name(module: str, tmp_path: Path) -> None:
    metadata = tmp_path / f"{module}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[couplet.plugins]\nreward.short = {module}:brevity\n")
    (named,) = load_reward_functions([RewardFunctionConfig(path="short")])
    assert named.name == "short"
    with pytest.raises(ConfigError, match=r"reward\.functions\.0\.path: 'shrt' is no reward known.* short"):
        load_reward_functions([RewardFunctionConfig(path="shrt")])


def test_an_excluded_completion_is_not_shown_to_reward_functions(module: str) -> None:
    score = score_of(rule_of(module, "raises"), WELL, (P, P, P, Verdict.INFRA))
    assert (score.excluded, score.reward) == (True, 0.0)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("raises", "raised ZeroDivisionError: division by zero, on task 't'"),
        ("infinite", "returned inf, not a finite number"),
        ("endless", "returned 1000.*, not a finite number"),
        ("absent", "returned None, not a finite number"),
    ],
)
def test_a_function_that_fails_is_an_error_and_no_reward(module: str, name: str, problem: str) -> None:
    with pytest.raises(ValueError, match=f"reward.functions: {name} {problem}"):
        score_of(rule_of(module, name), WELL, (P, P, P, P))


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("no_such_module_here:f", "cannot import 'no_such_module_here'"),
        ("{module}_broken:f", "raised ZeroDivisionError"),
        ("{module}:missing", "has no 'missing'"),
        ("{module}:number", "is int; name a function"),
        ("{module}:only_one", r"must take \(task, completion\), and takes \(task\)"),
    ],
)
def test_a_function_that_cannot_be_used_is_named_at_the_start(module: str, path: str, problem: str) -> None:
    good = RewardFunctionConfig(path=f"{module}:brevity")
    bad = RewardFunctionConfig(path=path.format(module=module))
    with pytest.raises(ConfigError, match=rf"reward\.functions\.1\.path: .*{problem}"):
        load_reward_functions([good, bad])


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("reward.functions=[{path: 'a:tests'}]", "'tests' is the name of a metric"),
        ("reward.functions=[{path: 'a:f'}, {path: 'b:f'}]", "two are named 'f'"),
        ("reward.functions=[{path: 'a.f'}]", "reward.functions.0.path"),
        ("reward.functions=[{path: 'a:f', scale: 2}]", "known keys here: path, weight, scope, timeout_seconds"),
        ("reward.functions=[{path: static_check}, {path: 'a:static_check'}]", "two are named 'static_check'"),
        (
            "reward.functions=[{path: tokens_per_forward}]",
            "tokens_per_forward pays for .* the entropy decoder commits .*; set rollout.decoder: threshold",
        ),
        ("reward.docker_runtime=runsc", "docker_runtime: belongs to the docker backend"),
        ("reward.docker_image=x", "docker_image: belongs to the docker backend"),
        ("reward.preset=nobodys", "reward.preset"),
        ("reward.cheat_probe=0.1", "reward: cheat_probe: is spelled hacking_probe"),
    ],
)
def test_contradictory_settings_are_refused(tmp_path: Path, override: str, problem: str) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("model: {path: builtin:quickstart}\ndata: {source: synthetic}\n")
    with pytest.raises(ConfigError, match=problem):
        load_config(recipe, [override])
