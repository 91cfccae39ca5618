"""The interface of a likelihood estimator: views of a completion, and weights.

A masked-diffusion model has no exact token likelihood. An estimator names *views* of the text (which positions are
masked in each) and *weights*, and the estimate is

    l_k = sum over views v of weights[v, k] * log p(o_k | prompt and o as view v shows them).

Views are data: a pure function of the sample's key and the text, the same for the policies that are compared, and
for any split of the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from common import rng
from common.records import Completion

Masks = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class SampleKey:
    """Identifies a sample's masks: run seed, group index, sample index and inner iteration."""

    seed: int
    group: int
    sample: int
    iteration: int

    def mask_generator(self) -> np.random.Generator:
        """Return a fresh generator of this key's masks."""
        return rng.stream(self.seed, "masks", self.group, self.sample, self.iteration)


@dataclass(frozen=True)
class Text:
    """A completion of L tokens as an estimator sees it.

    ``valid_tokens`` counts those up to and including the end of the text, or all: only they are measured.
    ``step_map`` and ``overwritten`` are the rollout's (:class:`common.records.Rollout`), for estimators that
    follow its steps.
    """

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    valid_tokens: int
    step_map: tuple[int, ...] = ()
    overwritten: tuple[tuple[int, int, int], ...] = ()

    @classmethod
    def of(
        cls, prompt_ids: tuple[int, ...], completion: Completion, *, whole: bool = False, **fields: Any
    ) -> Self:
        """Make the text of a rollout's completion; ``fields`` are those that a subclass adds.

        ``whole``: what follows the end of the text is measured as well.
        """
        return cls(
            prompt_ids=prompt_ids,
            completion_ids=completion.completion_ids,
            valid_tokens=len(completion.completion_ids) if whole else completion.text_tokens,
            step_map=completion.step_map,
            overwritten=completion.overwritten,
            **fields,
        )


@dataclass(frozen=True)
class Views:
    """V views of a completion of L tokens.

    ``masks`` [V, L] says what is masked and ``weights`` float64 [V, L] what a token's log-probability there counts
    for: 0 wherever it is not masked. ``visible`` [V, L] are the tokens under positions that are not masked, where
    they differ from the completion's; ``prompt_masks`` [V, P] masks prompt tokens.

    The estimate is the mean over ``draws`` estimates by equally many views each, one after the other: the first
    V/draws views make the first, and so on.
    """

    masks: Masks
    weights: npt.NDArray[np.float64]
    visible: npt.NDArray[np.int64] | None = None
    prompt_masks: Masks | None = None
    draws: int = 1

    def canvases(self, text: Text, mask_token_id: int) -> npt.NDArray[np.int64]:
        """Return the token ids [V, P + L] that the model sees."""
        visible = np.asarray(text.completion_ids) if self.visible is None else self.visible
        completion = np.where(self.masks, mask_token_id, visible)
        prompt = np.broadcast_to(
            np.asarray(text.prompt_ids, dtype=np.int64), (len(completion), len(text.prompt_ids))
        )
        if self.prompt_masks is not None:
            prompt = np.where(self.prompt_masks, mask_token_id, prompt)
        return np.concatenate([prompt, completion], axis=1)

    def of_draws(self) -> list[tuple[int, ...]]:
        """Return the numbers of the views of each draw."""
        size = len(self.masks) // self.draws
        return [tuple(range(draw * size, (draw + 1) * size)) for draw in range(self.draws)]

    def measured(self, text: Text) -> Masks:
        """Return which log-probabilities count, [V, L]: those with a weight, of valid tokens."""
        measured: Masks = self.weights != 0
        measured[:, text.valid_tokens :] = False
        return measured


class Estimator(Protocol):
    """A choice of views and weights. One of yours can be named in a recipe (docs/extending.md)."""

    @property
    def complete(self) -> bool:
        """Whether every valid token has a weight in some view, whatever the masks."""

    def views(self, key: SampleKey, text: Text) -> Views:
        """Return the views of a completion."""
