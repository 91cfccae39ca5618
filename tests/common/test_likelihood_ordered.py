"""Estimators that follow an order of decoding, beside the canvases of a decoding that is played step by step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from common.likelihood.left_to_right import LeftToRightEstimator
from common.likelihood.trace import TraceEstimator
from common.likelihood.views import SampleKey, Text

MASK_ID, PAD_ID = 0, 1
KEY = SampleKey(0, 3, 5, 0)
PROMPT = (7, 8)
NEVER = -1

#: One token a step, out of order; several a step; steps that committed nothing; all at once.
WHOLE = [(3, 0, 2, 1, 4, 5), (0, 0, 1, 1, 1, 2), (9, 4, 4, 0, 9, 7), (5, 5, 5, 5, 5, 5)]
#: Ends after three, four and one tokens. What had been committed behind the end: (position, token, step).
ENDED: list[tuple[tuple[int, ...], int, tuple[tuple[int, int, int], ...]]] = [
    ((4, 0, 3, NEVER, NEVER, NEVER), 3, ((5, 25, 1), (3, 23, 2))),
    ((0, 6, 2, 6, NEVER, NEVER), 4, ((4, 24, 0), (5, 25, 3))),
    ((2, NEVER, NEVER, NEVER, NEVER, NEVER), 1, ((1, 21, 2), (4, 24, 0), (5, 25, 1))),
    ((1, 0, NEVER, NEVER, NEVER, NEVER), 2, ()),
]


def text_of(
    step_map: tuple[int, ...], valid: int | None = None, overwritten: tuple[tuple[int, int, int], ...] = ()
) -> Text:
    valid = len(step_map) if valid is None else valid
    ids = tuple(10 + k if k < valid else PAD_ID for k in range(len(step_map)))
    return Text(PROMPT, ids, valid, step_map, overwritten)


TEXTS = [text_of(step_map) for step_map in WHOLE] + [text_of(*ended) for ended in ENDED]


def played(text: Text, merged_steps: int) -> list[tuple[list[int], list[int]]]:
    """Each view as its canvas and the positions that it scores, by committing one step after another."""
    commits: dict[int, list[tuple[int, int]]] = {}
    for k in range(text.valid_tokens):
        commits.setdefault(text.step_map[k], []).append((k, text.completion_ids[k]))
    steps = sorted(commits)
    scored = {step: [k for k, _ in commits[step]] for step in steps}
    for position, token, step in text.overwritten:
        commits.setdefault(step, []).append((position, token))
    canvas = [MASK_ID] * len(text.completion_ids)
    views: list[tuple[list[int], list[int]]] = []
    for step in sorted(commits):
        if step in steps:
            if steps.index(step) % merged_steps == 0:
                views.append(([*text.prompt_ids, *canvas], []))
            views[-1][1].extend(scored[step])
        for position, token in commits[step]:
            canvas[position] = token
    return [(seen, sorted(positions)) for seen, positions in views]


@pytest.mark.parametrize("merged_steps", [1, 2, 8])
@pytest.mark.parametrize("text", TEXTS, ids=lambda text: f"{text.step_map}-{text.overwritten}")
def test_trace_views_are_the_canvases_of_the_rollout(text: Text, merged_steps: int) -> None:
    views = TraceEstimator(merged_steps).views(KEY, text)
    scored = views.measured(text)
    found = [
        (canvas, np.flatnonzero(row).tolist())
        for canvas, row in zip(views.canvases(text, MASK_ID).tolist(), scored, strict=True)
    ]
    assert found == played(text, merged_steps)
    assert scored.sum(0).tolist() == [int(k < text.valid_tokens) for k in range(len(text.completion_ids))]
    assert (views.weights[scored] == 1).all()
    assert not views.weights[~scored].any()
    assert views.masks[scored].all()


def test_what_was_overwritten_is_visible_after_its_step_only() -> None:
    text = text_of(*ENDED[0])  # 1 at step 0, 2 at step 3 and 0 at step 4; overwritten: 5 at step 1 and 3 at step 2
    canvases = TraceEstimator().views(KEY, text).canvases(text, MASK_ID)
    assert canvases[:, len(PROMPT) :].tolist() == [
        [0, 0, 0, 0, 0, 0],
        [0, 11, 0, 23, 0, 25],
        [0, 11, 12, 23, 0, 25],
    ]


@pytest.mark.parametrize(
    "text",
    [
        replace(TEXTS[0], step_map=()),
        replace(TEXTS[0], step_map=(0, 1, 2, 3, 4)),
        replace(TEXTS[0], step_map=(0, 1, 2, NEVER, 4, 5)),
    ],
    ids=["none", "short", "hole"],
)
def test_trace_needs_a_step_for_every_valid_token(text: Text) -> None:
    with pytest.raises(ValueError, match=r"group 3, sample 5: .* no step for every token"):
        TraceEstimator().views(KEY, text)


@pytest.mark.parametrize("valid", [1, 3, 6])
def test_left_to_right_masks_from_the_token_that_it_scores(valid: int) -> None:
    text = text_of((NEVER,) * 6, valid)
    views = LeftToRightEstimator().views(KEY, text)
    canvases = [[*PROMPT, *text.completion_ids[:k], *[MASK_ID] * (6 - k)] for k in range(valid)]
    assert views.canvases(text, MASK_ID).tolist() == canvases
    assert views.measured(text).tolist() == [[k == view for k in range(6)] for view in range(valid)]
    assert views.weights.tolist() == [[float(k == view) for k in range(6)] for view in range(valid)]


@pytest.mark.parametrize("estimator", [TraceEstimator(), TraceEstimator(2), LeftToRightEstimator()], ids=repr)
def test_nothing_is_drawn(estimator: TraceEstimator | LeftToRightEstimator) -> None:
    one, other = (estimator.views(SampleKey(i, i, i, i), TEXTS[4]) for i in range(2))
    assert np.array_equal(one.masks, other.masks)
    assert estimator.complete
