"""Bugs in the noise and the loss of the supervised stages."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_NOISE = "learner/stages/noise.py"
_TEST_NOISE = ("tests/learner/stages/test_noise.py",)
_TEST_ENGINE = ("tests/learner/stages/test_stage_engine.py",)

BUGS = (
    Mutation(
        "first-token-predicted",
        "With shifted logits nothing predicts the first token of a segment.",
        _NOISE,
        old="targets[0] = False",
        new="targets[0] = True",
        tests=_TEST_NOISE,
    ),
    Mutation(
        "examples-cut",
        "Examples are neither cut nor given a beginning that stays.",
        _NOISE,
        old="if segment.prompt or segment.padding:",
        new="if segment.padding and settings.phase_in_epochs == 0:",
        tests=_TEST_NOISE,
    ),
    Mutation(
        "held-out-pads-counted",
        "A held-out loss leaves pads out.",
        _NOISE,
        old="weights[len(segment) - segment.padding :] = 0.0",
        new="weights[len(segment) :] = 0.0",
        tests=_TEST_NOISE,
    ),
    Mutation(
        "other-corner-visible",
        "While attention is annealed, a segment takes the corner of its length of the pairs of the step.",
        "common/models/transformer.py",
        old="visible[:length, :length]",
        new="visible[-length:, -length:]",
        tests=_TEST_ENGINE,
    ),
    Mutation(
        "loss-of-this-rank",
        "The loss of a step is divided by a count over all ranks, which average their gradients.",
        "learner/stages/engine.py",
        old="loss * (self._world / count)",
        new="loss / count",
        tests=_TEST_ENGINE,
    ),
)
