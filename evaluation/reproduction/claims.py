"""The claims, each with the rule that decides it: both stand here before any result does.

A claim is one or several statements about two quantities of the same seed, each judged by itself. What a paper
says of models that this machine cannot train is listed as not testable, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from common.errors import UserError
from common.presets import PRESETS
from evaluation.reproduction.jobs import Enumeration, Job, Probe, Training, needs
from evaluation.reproduction.rules import HIGHER, Alike, Rule

#: Job -> figure -> its value, of one seed.
Figures = Mapping[str, Mapping[str, float]]
Unit = Literal["share", "number"]


@dataclass(frozen=True)
class Quantity:
    """A number of one seed, computed from the figures of ``jobs``."""

    title: str
    jobs: tuple[Job, ...]
    value: Callable[[Figures], float]
    unit: Unit = "share"


@dataclass(frozen=True)
class Statement:
    """What is claimed: ``first`` and ``second`` by ``rule``. ``source`` says who claims it."""

    text: str
    source: str
    first: Quantity
    second: Quantity
    rule: Rule = HIGHER

    @property
    def jobs(self) -> list[Job]:
        return list(dict.fromkeys((*self.first.jobs, *self.second.jobs)))

    def difference(self, figures: Figures) -> float:
        """Return the paired difference of a seed."""
        return self.first.value(figures) - self.second.value(figures)


@dataclass(frozen=True)
class Claim:
    """An experiment. ``curves`` are the arms whose course is drawn."""

    name: str
    title: str
    about: str
    statements: tuple[Statement, ...]
    curves: tuple[Training, ...] = ()

    def jobs(self) -> list[Job]:
        """Return what has to be done, each job after those that it needs."""
        own = [*self.curves, *(job for statement in self.statements for job in statement.jobs)]
        return list(dict.fromkeys(one for job in own for one in (needs(job), job) if one is not None))


@dataclass(frozen=True)
class Untestable:
    """What cannot be tested here, and why."""

    text: str
    source: str
    reason: str


_PAPER = "DiffuCoder, arXiv 2506.20639"

COUPLED = Training("coupled", "coupled", keep=True)
LOO = Training("loo", "coupled, leave-one-out", ("learner.preset=diffucoder_loo",))
DECOUPLED = Training("decoupled", "decoupled", ("learner.estimator.kind=decoupled",))
FULL_MASK = Training("full_mask", "full mask", ("learner.estimator.kind=full_mask",))
#: With 14 denoising steps a sample of ``coupled`` costs up to 14 canvases of rollout and 27 of training, one of
#: ``full_mask`` 14 and 9. So many steps make both runs cost the same.
FULL_MASK_LONGER = Training(
    "full_mask_longer", "full mask, more steps", ("learner.estimator.kind=full_mask", "run.steps=21")
)
LAMBDA = {
    pairs: Training(f"lambda_{pairs}", f"lambda = {pairs}", (f"learner.estimator.mask_pairs={pairs}",))
    for pairs in (2, 4)
}
COOLER = Training("temperature_1.0", "rollouts at temperature 1.0", ("rollout.temperature=1.0",))
#: Left-to-right rollouts are a part of this preset's algorithm.
_OF_PRESET = {"justgrpo": ("rollout.block_length=1", "rollout.denoising_steps=28")}
_HERE = {"diffucoder": COUPLED, "diffucoder_loo": LOO}
PRESET_ARMS = {
    name: _HERE.get(name)
    or Training(f"preset_{name}", name, (f"learner.preset={name}", *_OF_PRESET.get(name, ())))
    for name in PRESETS
    if name is not None
}

_ENUMERATION = Enumeration()
_TEMPERATURES = (0.2, 0.4, 0.6, 0.8, 1.0, 1.2)
_LENGTH, _HALF, _QUARTER = 28, 14, 7
_GREEDY = Probe(None, 0.0, _HALF, tasks=100, samples=1)


def _of(job: Job, figure: str, title: str | None = None, unit: Unit = "share") -> Quantity:
    return Quantity(title or job.title, (job,), lambda figures: figures[job.name][figure], unit)


def _held_out(arm: Training) -> Quantity:
    return _of(arm, "held_out")


def _variance(pairs: str, level: str) -> Quantity:
    return _of(_ENUMERATION, f"{pairs}_{level}", pairs.partition("_")[0], "number")


def _spread(arm: Training) -> Quantity:
    title = "lambda = 1" if arm is COUPLED else arm.title
    return _of(arm, "estimator_variance", title, "number")


def _probes(arm: Training | None, steps: int) -> dict[float, Probe]:
    return {temperature: Probe(arm, temperature, steps) for temperature in _TEMPERATURES}


def _halving(arm: Training | None, fewer: int) -> Quantity:
    """What pass@1 loses from one token a step to ``fewer`` steps."""
    whole, part = Probe(arm, 0.2, _LENGTH), Probe(arm, 0.2, fewer)
    return Quantity(
        "before RL" if arm is None else "after RL",
        (whole, part),
        lambda figures: figures[whole.name]["pass_1"] - figures[part.name]["pass_1"],
    )


def _best_temperature(arm: Training | None) -> Quantity:
    """The temperature of the highest pass@1, the lowest of equals."""
    probes = _probes(arm, _HALF)
    return Quantity(
        "before RL" if arm is None else "after RL",
        tuple(probes.values()),
        lambda figures: max(probes, key=lambda t: (figures[probes[t].name]["pass_1"], -t)),
        "number",
    )


def _ar_ness(arm: Training | None, temperature: float = 0.2, title: str | None = None) -> Quantity:
    probe = Probe(arm, temperature, _LENGTH)
    return _of(probe, "global_ar_ness", title or ("before RL" if arm is None else "after RL"), "number")


_CLAIMS = (
    Claim(
        "variance",
        "Complementary masks lower the variance of the likelihood estimate",
        "Every mask of a text of 4 tokens is enumerated on a random tiny model, one model and text a seed, so the "
        "numbers have no sampling error. Both estimators take 3 views, with weights that add up to 1.",
        (
            Statement(
                "a token's log-likelihood: decoupled masks vary more than coupled ones",
                f"{_PAPER}, appendix A.4",
                _variance("decoupled_1_pair", "token"),
                _variance("coupled_1_pair", "token"),
            ),
            Statement(
                "a text's log-likelihood: decoupled masks vary more than coupled ones",
                f"{_PAPER}, appendix A.4",
                _variance("decoupled_1_pair", "sequence"),
                _variance("coupled_1_pair", "sequence"),
            ),
        ),
    ),
    Claim(
        "estimators",
        "Coupled-GRPO learns more than its baselines, at the same number of updates",
        "Held-out pass rate, greedy, after the same number of updates on the same tasks from the same weights.",
        (
            Statement(
                "coupled masks end higher than the full mask",
                f"{_PAPER}, table 2",
                _held_out(COUPLED),
                _held_out(FULL_MASK),
            ),
            Statement(
                "coupled masks end higher than as many masks drawn apart",
                f"{_PAPER}, table 2",
                _held_out(COUPLED),
                _held_out(DECOUPLED),
            ),
            Statement(
                "leave-one-out and the mean as baseline end alike (they differ by a factor of 8/7)",
                "table 2 has both, several points apart in both directions; we claim that this is noise",
                _held_out(LOO),
                _held_out(COUPLED),
                Alike(0.05),
            ),
        ),
        (COUPLED, DECOUPLED, FULL_MASK, LOO),
    ),
    Claim(
        "compute",
        "Coupled-GRPO learns more than the full mask, at the same compute",
        "Compute is tokens through the model, of rollouts and learner together: 1 for a token of a forward pass, "
        "3 for one of a forward and backward pass. The full mask takes a third of the views, so it gets more "
        "steps (and tasks) for the same. Coupled, decoupled and leave-one-out cost the same a step.",
        (
            Statement(
                "coupled masks end higher than the full mask",
                "asked by the reviewers of the paper",
                _held_out(COUPLED),
                _held_out(FULL_MASK_LONGER),
            ),
            Statement(
                "coupled masks end higher than as many masks drawn apart",
                "asked by the reviewers of the paper",
                _held_out(COUPLED),
                _held_out(DECOUPLED),
            ),
        ),
        (COUPLED, DECOUPLED, FULL_MASK_LONGER, LOO),
    ),
    Claim(
        "lambda",
        "More mask pairs lower the variance, and pay",
        "The variance is that of a token's estimate over the masks of two inner iterations, mean of the run, with "
        "the paper's weights. Lambda 2 takes 5 views a sample and lambda 4 takes 9, in place of 3.",
        (
            Statement(
                "the estimate varies less with lambda = 2 than with 1",
                f"{_PAPER}, equation 13 with lambda above 1",
                _spread(COUPLED),
                _spread(LAMBDA[2]),
            ),
            Statement(
                "the estimate varies less with lambda = 4 than with 2",
                f"{_PAPER}, equation 13 with lambda above 1",
                _spread(LAMBDA[2]),
                _spread(LAMBDA[4]),
            ),
            Statement(
                "lambda = 2 ends higher than 1 after as many updates",
                "asked by the reviewers of the paper",
                _held_out(LAMBDA[2]),
                _held_out(COUPLED),
            ),
            Statement(
                "lambda = 4 ends higher than 1 after as many updates",
                "asked by the reviewers of the paper",
                _held_out(LAMBDA[4]),
                _held_out(COUPLED),
            ),
        ),
        (COUPLED, LAMBDA[2], LAMBDA[4]),
    ),
    Claim(
        "temperature",
        "Rollouts at temperature 1.2 teach more than at 1.0",
        "Held-out pass rate, greedy, after as many updates. Training rewards are not compared: they are measured "
        "at the temperature of the rollouts.",
        (
            Statement(
                "1.2 ends higher than 1.0",
                f"{_PAPER}, section 4.2 and figure 7",
                _held_out(COUPLED),
                _held_out(COOLER),
            ),
        ),
        (COUPLED, COOLER),
    ),
    Claim(
        "order",
        "What RL does to the order of decoding, to fewer steps and to the best temperature",
        "The coupled runs, before and after, on 50 held-out tasks with 4 completions each, at temperature "
        "0.2 where nothing else is said. AR-ness is global, at k = 1, of all commits in order, one token a step.",
        (
            Statement(
                "RL lowers AR-ness (before is higher than after)",
                _PAPER,
                _ar_ness(None),
                _ar_ness(COUPLED),
            ),
            Statement(
                "a higher temperature lowers AR-ness (0.2 is higher than 1.2, before RL)",
                _PAPER,
                _ar_ness(None, 0.2, "0.2"),
                _ar_ness(None, 1.2, "1.2"),
            ),
            Statement(
                "a higher temperature raises pass@4 (1.0 is higher than 0.2, before RL)",
                f"{_PAPER}, figure 6",
                _of(Probe(None, 1.0, _HALF), "pass_all", "1.0"),
                _of(Probe(None, 0.2, _HALF), "pass_all", "0.2"),
            ),
            Statement(
                "half the steps cost less pass@1 after RL than before (the loss before is higher)",
                _PAPER,
                _halving(None, _HALF),
                _halving(COUPLED, _HALF),
            ),
            Statement(
                "a quarter of the steps costs less pass@1 after RL than before (the loss before is higher)",
                _PAPER,
                _halving(None, _QUARTER),
                _halving(COUPLED, _QUARTER),
            ),
            Statement(
                "the best temperature is higher after RL than before",
                _PAPER,
                _best_temperature(COUPLED),
                _best_temperature(None),
            ),
        ),
    ),
    Claim(
        "presets",
        "Every preset learns",
        "Held-out pass rate, greedy, before and after. All presets have the quick start's learning rate and "
        "batch, not their papers', so this says that an implementation learns, not which algorithm is the best.",
        tuple(
            Statement(
                f"{name} ends higher than it started",
                "the paper of each (common/presets.py)",
                _held_out(arm),
                _of(_GREEDY, "pass_1", "before RL"),
            )
            for name, arm in PRESET_ARMS.items()
        ),
        tuple(PRESET_ARMS.values()),
    ),
)

CLAIMS = {claim.name: claim for claim in _CLAIMS}

UNTESTABLE = (
    Untestable(
        "coupled-GRPO raises the EvalPlus score of DiffuCoder-7B-Instruct by 4.4 points",
        f"{_PAPER}, table 2",
        "takes eight H100 for 40 hours; the recipe diffucoder_8xh100 is for it",
    ),
    Untestable(
        "adaptation on 65 B tokens gives a better model than on 700 B",
        _PAPER,
        "takes ten nodes of eight H100; couplet adapt does the stage",
    ),
    Untestable(
        "adapted models have a higher AR-ness than LLaDA, which was trained from nothing",
        f"{_PAPER}, section 4.1",
        "takes the published weights of both; couplet evaluate measures it on them",
    ),
    Untestable(
        "code has a lower global AR-ness than mathematics, and a higher variance of it",
        f"{_PAPER}, section 4.1",
        "takes a model that does both",
    ),
    Untestable(
        "a second epoch of RL is worse on EvalPlus",
        f"{_PAPER}, table 2",
        "is about the 21,000 tasks of AceCode's hard split and a 7B model",
    ),
)


def find_claims(names: tuple[str, ...]) -> list[Claim]:
    """Return the claims of these names, all for none. Raises UserError, which lists them, for an unknown one."""
    for name in names:
        if name not in CLAIMS:
            raise UserError(f"claim {name}: there is none of this name; give some of {', '.join(CLAIMS)}")
    return [claim for name, claim in CLAIMS.items() if not names or name in names]


def all_jobs(claims: list[Claim]) -> list[Job]:
    """Return the jobs of claims, each once, after those that it needs."""
    return list(dict.fromkeys(job for claim in claims for job in claim.jobs()))
