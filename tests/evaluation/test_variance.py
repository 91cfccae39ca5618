"""The figures of `couplet analyze variance` beside a brute-force count over the shipped estimators' outcomes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

import numpy as np
import pytest

from common.likelihood.coupled import CoupledEstimator
from common.likelihood.elbo import CountedElboEstimator
from common.likelihood.elbo_quadrature import QuadratureElboEstimator
from common.likelihood.full_mask import FullMaskEstimator
from common.likelihood.random_mask import RandomMaskEstimator
from common.likelihood.views import Estimator, Text
from common.models.folder import load_tokenizer
from common.models.loading import load_model
from evaluation.mask_outcomes import parts_of
from evaluation.token_log_probs import token_log_probs
from evaluation.variance import CONTENDERS, Analysis, Comparison, EstimatorRow, Figure
from evaluation.variance_exact import analyze_exactly, tiny_case
from evaluation.variance_sampled import STAGES, _covariance, _spread, analyze_by_sampling, reference_texts
from learner.warm_start.synthetic import generate
from tests.likelihood_tools import (
    LENGTH,
    MASK_ID,
    TEXT,
    Canvases,
    Outcome,
    bits,
    chance,
    gauss,
    joint,
    masks,
    one_mask,
    one_subset,
    scripted_views,
    tiny_model,
)

LEVELS = ("token", "sequence")


def row(found: Analysis, name: str, pairs: int = 1) -> EstimatorRow:
    return next(r for r in found.rows if (r.name, r.pairs) == (name, pairs))


def at(line: EstimatorRow, level: str) -> Comparison:
    comparison: Comparison = getattr(line, level)
    return comparison


def nodes(count: int) -> Iterable[Outcome]:
    parts = [[(chance(m, ratio), (bits(m),)) for m in masks()] for ratio, _ in gauss(0.0, 1.0, count)]
    return ((p, [rows]) for p, rows in joint(*parts))


PAIR = one_mask(gauss(0.2, 0.8, 8))
OUTCOMES = {
    ("full_mask", 1): lambda: [(1.0, ([bits((False,) * 3)],))],
    ("coupled", 1): lambda: one_mask(gauss(0.2, 0.8, 12)),
    ("coupled", 2): lambda: joint(PAIR, PAIR),
    ("decoupled", 1): lambda: joint(PAIR, PAIR),
    ("elbo", 1): one_subset,
    ("elbo", 2): lambda: joint(one_subset(), one_subset()),
    ("elbo_quadrature", 1): lambda: nodes(3),
}


@pytest.mark.parametrize(("name", "pairs"), OUTCOMES)
def test_enumerated_figures_are_those_of_the_shipped_estimators(
    monkeypatch: pytest.MonkeyPatch, name: str, pairs: int
) -> None:
    canvases, line = Canvases(), row(analyze_exactly(tiny_model(), TEXT), name, pairs)
    estimator = next(c.estimator for c in CONTENDERS if (c.name, c.pairs) == (name, pairs))
    drawn = [
        (p, canvases.estimate(scripted_views(monkeypatch, estimator, draws)))
        for p, draws in OUTCOMES[name, pairs]()
    ]
    means = [sum(p * values[k] for p, values in drawn) for k in range(LENGTH)]
    squares = [sum(p * (values[k] - means[k]) ** 2 for p, values in drawn) for k in range(LENGTH)]
    total = sum(means)
    assert line.token.mean.value == pytest.approx(total / LENGTH, rel=1e-6)
    assert line.sequence.mean.value == pytest.approx(total, rel=1e-6)
    assert line.token.variance.value == pytest.approx(sum(squares) / LENGTH, rel=1e-5, abs=1e-12)
    spread = sum(p * (sum(values) - total) ** 2 for p, values in drawn)
    assert line.sequence.variance.value == pytest.approx(spread, rel=1e-5, abs=1e-12)
    views = len(scripted_views(monkeypatch, estimator, next(iter(OUTCOMES[name, pairs]()))[1]).masks)
    assert line.cost == views


@pytest.mark.parametrize("seed", range(8))
def test_coupled_scatters_less_than_decoupled_of_the_same_mean_and_cost(seed: int) -> None:
    found = analyze_exactly(*tiny_case(seed))
    for level in LEVELS:
        assert found.pair_covariance[level].value < 0
        assert at(row(found, "full_mask"), level).variance.value == 0
        assert at(row(found, "elbo_quadrature", 1), level).bias.value == pytest.approx(0, abs=1e-9)
        for pairs in (1, 2):
            coupled, decoupled = row(found, "coupled", pairs), row(found, "decoupled", pairs)
            one, other = at(coupled, level), at(decoupled, level)
            assert one.variance.value < other.variance.value
            assert one.mean.value == pytest.approx(other.mean.value)
            assert coupled.cost == decoupled.cost == 2 * pairs + 1
            assert other.relative.value == pytest.approx(other.variance.value / one.variance.value)
            assert at(row(found, "elbo", pairs), level).bias.value == pytest.approx(0, abs=1e-9)


def test_the_covariance_of_halves_is_what_coupling_gains() -> None:
    """Of a token: minus the product of the halves' means, as it is in one of them only (DiffuCoder, appendix
    A.4)."""
    found = analyze_exactly(tiny_model(), TEXT)
    for level in LEVELS:
        gain = at(row(found, "decoupled"), level).variance.value - at(row(found, "coupled"), level).variance.value
        assert gain * 3**2 == pytest.approx(-2 * found.pair_covariance[level].value)
    canvases = Canvases()
    products = []
    for k in range(LENGTH):
        halves = [
            sum(
                share * chance(m, r) * canvases.logprob([i for i in range(LENGTH) if m[i]], k) / r
                for r, share in gauss(0.2, 0.8, 8)
                for m in masks()
                if m[k]
            )
        ] * 2  # both halves have one distribution, as the range is symmetric
        products.append(halves[0] * halves[1])
    assert found.pair_covariance["token"].value == pytest.approx(-sum(products) / LENGTH, rel=1e-5)


@pytest.mark.parametrize(
    "estimator",
    [
        CoupledEstimator(2, (0.1, 0.7)),
        CoupledEstimator(1, weighting="normalized", complements=False),
        CountedElboEstimator(2),
        QuadratureElboEstimator(2),
    ],
    ids=repr,
)
def test_outcomes_are_distributions(estimator: Estimator) -> None:
    for part in parts_of(estimator, 3):
        assert part.probability.sum() == pytest.approx(1)
        assert part.masks.shape == part.weights.shape
        assert np.array_equal(part.weights > 0, part.masks)


@pytest.mark.parametrize("estimator", [RandomMaskEstimator(), FullMaskEstimator(0.15)])
def test_what_is_not_enumerated_is_refused(estimator: Estimator) -> None:
    with pytest.raises(TypeError, match="no enumeration for"):
        parts_of(estimator, 3)


def test_sampled_figures_agree_with_enumerated_ones() -> None:
    """The mean of two texts; 3.5 standard errors, of 78 figures with fixed draws."""
    model, other = tiny_model(), Text((4, 2), (3, 3, 6, 1), LENGTH)
    exact = [analyze_exactly(model, text) for text in (TEXT, other)]
    stages: list[str] = []
    found = analyze_by_sampling(model, [TEXT, other], 1500, 5, stages.append)
    assert len(stages) == 2 * STAGES

    def check(figure: Figure, *values: float) -> None:
        value = sum(values) / len(values)
        assert abs(figure.value - value) <= 3.5 * figure.error + 1e-6
        assert figure.error <= 0.2 * abs(figure.value) + 0.1

    for level in LEVELS:
        check(found.elbo[level], *(e.elbo[level].value for e in exact))
        check(found.pair_covariance[level], *(e.pair_covariance[level].value for e in exact))
        for i, line in enumerate(found.rows):
            one, both = at(line, level), [at(e.rows[i], level) for e in exact]
            check(one.mean, *(b.mean.value for b in both))
            check(one.bias, *(b.bias.value for b in both))
            check(one.variance, *(b.variance.value for b in both))
            reference = [at(row(e, "coupled", line.pairs), level).variance.value for e in exact]
            cost = line.cost / (2 * line.pairs + 1)
            check(one.relative, sum(b.variance.value for b in both) / sum(reference) * cost)


def test_figures_of_draws_are_unbiased_and_their_errors_those_of_repeated_runs() -> None:
    """Of 2000 samples of 40 draws of three correlated normal numbers."""
    factor = np.array([[1.0, 0.0, 0.0], [-0.6, 0.8, 0.0], [0.3, 0.5, 2.0]])
    covariance = factor @ factor.T
    normal = np.random.default_rng(0).standard_normal((2000, 40, 3)) @ factor.T + 5.0
    runs = [_spread(values) for values in normal]
    exact = {"token": (5.0, np.trace(covariance) / 3), "sequence": (15.0, covariance.sum())}
    for level in LEVELS:
        for field, value in zip(("mean", "variance"), exact[level], strict=True):
            figures = [getattr(run[level], field) for run in runs]
            values = [f.value for f in figures]
            assert np.mean(values) == pytest.approx(value, abs=4 * np.std(values) / 2000**0.5)
            assert np.std(values) == pytest.approx(np.mean([f.error for f in figures]), rel=0.1)
    halves = [_covariance(values[:, :2, None])["token"] for values in normal]
    values = [f.value for f in halves]
    assert np.mean(values) == pytest.approx(covariance[0, 1], abs=4 * np.std(values) / 2000**0.5)
    assert np.std(values) == pytest.approx(np.mean([f.error for f in halves]), rel=0.1)


def test_a_seed_repeats_the_draws() -> None:
    one, same, other = (asdict(analyze_by_sampling(tiny_model(), [TEXT], 8, seed)) for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_token_log_probs_are_the_models() -> None:
    """Of masked valid tokens; in one pass or several; repeated canvases too."""
    canvases, text = Canvases(), Text(TEXT.prompt_ids, TEXT.completion_ids, valid_tokens=3)
    patterns = [m for m in masks() if m != (True, False, True, False)] * 2
    ids = [
        [*TEXT.prompt_ids, *(MASK_ID if hidden else t for hidden, t in zip(m, TEXT.completion_ids, strict=True))]
        for m in patterns
    ]
    expected = [
        [canvases.logprob([i for i in range(LENGTH) if m[i]], k) if m[k] and k < 3 else 0.0 for k in range(LENGTH)]
        for m in patterns
    ]
    assert token_log_probs(tiny_model(), text, np.array(ids)) == pytest.approx(np.array(expected), abs=1e-5)
    in_parts = token_log_probs(tiny_model(), text, np.array(ids), tokens_at_once=20)
    assert in_parts == pytest.approx(np.array(expected), abs=1e-5)


def test_reference_texts_end_and_are_padded_as_rollouts_are() -> None:
    path = "builtin:quickstart"
    model, tokenizer = load_model(path), load_tokenizer(path)
    tasks = generate(3, train=0, held_out=6).held_out
    solved = [(task.task.prompt, task.reference) for task in tasks]
    for text, task in zip(reference_texts(path, model, solved, 28), tasks, strict=True):
        assert tokenizer.decode(text.prompt_ids) == task.task.prompt
        assert len(text.completion_ids) == 28
        assert tokenizer.decode(text.completion_ids[: text.valid_tokens - 1]) == task.reference
        assert set(text.completion_ids[text.valid_tokens - 1 :]) == {model.config.eos_token_id}
    cut = reference_texts(path, model, solved, 5)
    assert {(len(text.completion_ids), text.valid_tokens) for text in cut} == {(5, 5)}
    assert all(model.config.eos_token_id not in text.completion_ids for text in cut)
