"""The statistics, rules and files of a reproduction, against plain loops and tables."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from statistics import fmean

import pytest

from common.config import load_config
from common.errors import UserError
from evaluation.reproduction.claims import CLAIMS, COUPLED, PRESET_ARMS, Quantity, Statement, all_jobs, find_claims
from evaluation.reproduction.findings import course, judge, verdict
from evaluation.reproduction.jobs import RECIPE, Enumeration, Probe, Training, needs
from evaluation.reproduction.results import Result, ResultFolder
from evaluation.reproduction.rules import Alike, Higher, Verdict
from evaluation.reproduction.statistics import mean_interval, sign_flip_p, student_quantile
from orchestrator.commands.recipes import shipped_recipe


@pytest.mark.parametrize(
    ("share", "freedom", "value"),
    [(0.975, 1, 12.7062), (0.975, 2, 4.3027), (0.975, 4, 2.7764), (0.975, 15, 2.1314), (0.95, 9, 1.8331)],
)
def test_quantiles_are_those_of_the_tables(share: float, freedom: int, value: float) -> None:
    assert student_quantile(share, freedom) == pytest.approx(value, abs=1e-4)


def test_the_interval_of_a_mean() -> None:
    found = mean_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (found.low, found.mean, found.high) == pytest.approx((1.0368, 3.0, 4.9632), abs=1e-4)
    assert mean_interval([0.5]).high == float("inf")


@pytest.mark.parametrize(
    "differences",
    [
        [0.1] * 5,
        [0.1, 0.2, 0.3, 0.4, -0.05],
        [0.3, -0.2, 0.1],
        [-0.1] * 4,
        [0.0, 0.0, 0.1],
        [0.1, 0.1, -0.1, -0.1],
    ],
)
def test_the_paired_test_counts_signs(differences: list[float]) -> None:
    found = [fmean(sign * d for sign, d in zip(signs, differences, strict=True)) for signs in _signs(differences)]
    assert sign_flip_p(differences) == fmean(mean >= fmean(differences) - 1e-9 for mean in found)


def _signs(differences: list[float]) -> list[tuple[int, ...]]:
    return list(product((1, -1), repeat=len(differences)))


@pytest.mark.parametrize(
    ("differences", "wanted", "reason"),
    [
        ([0.1, 0.2, 0.1, 0.05, 0.3], Verdict.REPRODUCED, "p = 0.031"),
        (
            [0.1, 0.2, 0.1, -0.01, 0.3],
            Verdict.NOT_REPRODUCED,
            "no difference in this direction was shown: p = 0.062",
        ),
        ([-0.1, -0.2, -0.1, -0.05, -0.3], Verdict.NOT_REPRODUCED, "the opposite holds: p = 0.031 for it"),
        ([0.0] * 5, Verdict.NOT_REPRODUCED, "no difference in this direction was shown: p = 1.000"),
        ([0.5] * 4, Verdict.UNDECIDED, "a verdict takes at least 5 seeds, and there are 4"),
    ],
)
def test_higher_is_decided_by_all_seeds(differences: list[float], wanted: Verdict, reason: str) -> None:
    decision = Higher().decide(differences)
    assert (decision.verdict, decision.reason) == (wanted, reason)


def test_alike_takes_an_interval_within_the_margin() -> None:
    near, far, unsure = [0.01, -0.01, 0.0, 0.01, 0.0], [0.1, 0.11, 0.1, 0.1, 0.11], [0.2, -0.2, 0.1, -0.1, 0.0]
    verdicts = [Alike(0.05).decide(one).verdict for one in (near, far, unsure, near[:4])]
    assert verdicts == [Verdict.REPRODUCED, Verdict.NOT_REPRODUCED, Verdict.NOT_REPRODUCED, Verdict.UNDECIDED]


def test_every_job_of_a_claim_can_be_run_and_comes_after_what_it_needs() -> None:
    jobs = all_jobs(find_claims(()))
    assert len({job.name for job in jobs}) == len(jobs)
    for number, job in enumerate(jobs):
        needed = needs(job)
        assert needed is None or (needed in jobs[:number] and needed.keep)
        if not isinstance(job, Enumeration):
            config = load_config(shipped_recipe(RECIPE), job.overrides(3))
            assert (config.run.seed, config.learner.ranks, config.admission.max_staleness) == (3, 1, 0)
    assert {arm.name for arm in CLAIMS["compute"].curves} >= {"coupled", "full_mask_longer"}
    assert len(PRESET_ARMS) == 14


def test_arms_of_a_seed_differ_in_what_they_say_alone() -> None:
    """The same tasks, weights and noise: only then are differences paired."""
    base = load_config(shipped_recipe(RECIPE), COUPLED.overrides(1))
    for name in ("decoupled", "full_mask", "lambda_2", "temperature_1.0"):
        (arm,) = [job for job in all_jobs(find_claims(())) if job.name == name]
        config = load_config(shipped_recipe(RECIPE), arm.overrides(1))
        assert config.run == base.run
        assert config.data == base.data
        assert config.model == base.model
        assert (config.rollout == base.rollout) == (name != "temperature_1.0")
        assert config.learner.objective == base.learner.objective
        assert config.learner.optimizer == base.learner.optimizer
        assert (config.learner.estimator == base.learner.estimator) == (name == "temperature_1.0")


def test_an_unknown_claim_is_refused_with_those_there_are() -> None:
    with pytest.raises(
        UserError, match="claim speed: there is none of this name; give some of variance, estimators"
    ):
        find_claims(("variance", "speed"))


def make_result(job: Training | Probe, seed: int, **figures: float) -> Result:
    curve = tuple({"updates": 2.0 * step, "solved": 0.1 * step + 0.01 * seed} for step in range(1, 4))
    return Result(
        job=job.name,
        seed=seed,
        overrides=job.overrides(seed),
        commit="c",
        seconds=2.0,
        figures=figures,
        curve=curve,
    )


def test_only_seeds_of_which_all_is_done_are_judged_and_paired() -> None:
    one, other = Training("one", "one"), Training("other", "other")

    def value(name: str) -> Quantity:
        return Quantity(name, (one if name == "one" else other,), lambda figures: figures[name]["held_out"])

    statement = Statement("one is higher", "nobody", value("one"), value("other"))
    results = {
        "one": {seed: make_result(one, seed, held_out=0.5 + 0.1 * seed) for seed in range(6)},
        "other": {seed: make_result(other, seed, held_out=0.4 + 0.1 * seed) for seed in (0, 1, 2, 4, 5, 9)},
    }
    found = judge(statement, results)
    assert found.seeds == (0, 1, 2, 4, 5)
    assert found.difference is not None
    assert found.difference.mean == pytest.approx(0.1)
    assert verdict([found]) == "reproduced"
    nothing = judge(statement, {"one": results["one"]})
    assert (nothing.first, nothing.decision.verdict) == (None, Verdict.UNDECIDED)
    assert verdict([found, nothing]) == "1 of 2 reproduced"
    points = course(one, results, "updates", "solved")
    assert [point.x for point in points] == [2.0, 4.0, 6.0]
    assert [point.y.mean for point in points] == pytest.approx([0.125, 0.225, 0.325])
    assert course(other, {}, "updates", "solved") == []


def test_results_are_kept_by_their_settings(tmp_path: Path) -> None:
    folder, arm = ResultFolder(tmp_path / "out"), Training("arm", "arm", ("run.steps=3",))
    with folder.locked():
        with (
            pytest.raises(UserError, match="another process works in it"),
            ResultFolder(tmp_path / "out").locked(),
        ):
            pass
        assert folder.read(arm, 0) is None
        folder.write(arm, 0, make_result(arm, 0, held_out=0.5))
        assert folder.all([arm], [0, 1]) == {"arm": {0: make_result(arm, 0, held_out=0.5)}}
        with pytest.raises(UserError, match=r"other settings \(run.steps=3, run.steps=4\)"):
            folder.read(Training("arm", "arm", ("run.steps=4",)), 0)
        (tmp_path / "out" / "results" / "arm-seed1.json").write_text("{}")
        with pytest.raises(UserError, match=r"arm-seed1.json: is no result of this release"):
            folder.read(arm, 1)
