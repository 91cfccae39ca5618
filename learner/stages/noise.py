"""The noise of the supervised stages: which tokens of a segment are masked, and what each counts in the loss.

All of it is drawn for one segment at a time, from its own key, so it depends neither on the batch nor on the rank.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from common import rng
from common.config import DenoisingConfig
from learner.stages.segments import Segment

#: What one segment draws before its tokens: ratio, cut, place of the cut, prefix, end of the prefix, conditional.
_CHOICES = 6


@dataclass(frozen=True)
class Noised:
    """A segment, or what truncation leaves of it, with a share ``ratio`` of its tokens masked in expectation.

    ``ids`` [l] are its own tokens; ``mask`` [l] says which of them the model does not see, ``targets`` [l] which
    may be masked and are predicted then. ``weights`` [l] are what the cross-entropy of each counts in the loss:
    0 but for masked targets.
    """

    ids: npt.NDArray[np.int64]
    mask: npt.NDArray[np.bool_]
    targets: npt.NDArray[np.bool_]
    weights: npt.NDArray[np.float64]
    ratio: float

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def masked_targets(self) -> int:
        """Count the tokens that are masked and predicted."""
        return int((self.mask & self.targets).sum())

    def canvas(self, mask_token_id: int) -> npt.NDArray[np.int64]:
        """Return what the model sees, [l]."""
        return np.where(self.mask, mask_token_id, self.ids)

    def idle(self) -> Noised:
        """Return the same segment with no part in the loss."""
        return replace(self, weights=np.zeros_like(self.weights))


def conditional_share(settings: DenoisingConfig, epochs: float) -> float:
    """Return the share of examples whose prompt stays unmasked, after so many passes over the data."""
    return min(1.0, epochs / settings.phase_in_epochs) if settings.phase_in_epochs else 1.0


def noised(
    segment: Segment, settings: DenoisingConfig, seed: int, conditional_share: float, shift: bool
) -> Noised:
    """Mask a segment for training: each token that may be masked, with the segment's own probability t.

    t is uniform between ``t_min`` and 1. A masked target counts 1/t, times ``pad_weight`` where it is a pad.
    Of a document, a share is cut at a random length from 1 to all of it, and in a share the first 1 to all tokens
    of what is left stay unmasked. Examples (segments with a prompt or pads) have neither; in a share of them,
    conditional ones, the prompt stays unmasked, and in the others all tokens may be masked. With ``shift``, where
    the token before predicts, the first token may be masked but has nothing to be predicted from.
    Sources: DiffuCoder (arXiv 2506.20639), section 3; LLaDA (arXiv 2502.09992), algorithms 1 and 2, for t and for
    truncation.
    """
    draw = rng.stream(seed, "denoising", *segment.key)
    # All of them, whatever is in force: no setting changes what another one draws.
    place, cut, length, keep, prefix, conditional = draw.random(_CHOICES).tolist()
    uniform = draw.random(len(segment))
    ratio = settings.t_min + (1.0 - settings.t_min) * place
    end, first = len(segment), 0
    if segment.prompt or segment.padding:
        if conditional < conditional_share:
            first = segment.prompt
    else:
        if cut < settings.truncate_share:
            end = 1 + int(length * end)
        if keep < settings.prefix_share:
            first = 1 + int(prefix * end)
    weights = np.full(len(segment), 1.0 / ratio)
    weights[len(segment) - segment.padding :] *= settings.pad_weight
    return _masked(segment.ids[:end], uniform[:end] < ratio, first, weights[:end], ratio, shift)


def held_out_noised(segment: Segment, ratio: float, seed: int, shift: bool) -> Noised:
    """Mask a held-out segment for evaluation: the same tokens every time, and at a larger ratio more of them.

    Documents are whole and of examples only the answer is masked. Every masked target counts 1 but for pads, which
    count 0: how well a model foresees those would outweigh all else.
    """
    uniform = rng.stream(seed, "held-out denoising", *segment.key).random(len(segment))
    weights = np.ones(len(segment))
    weights[len(segment) - segment.padding :] = 0.0
    return _masked(segment.ids, uniform < ratio, segment.prompt, weights, ratio, shift)


def _masked(
    ids: npt.NDArray[np.int64],
    chosen: npt.NDArray[np.bool_],
    first: int,
    weights: npt.NDArray[np.float64],
    ratio: float,
    shift: bool,
) -> Noised:
    """Mask the chosen tokens from ``first`` on."""
    may_be_masked = np.arange(len(ids)) >= first
    mask = chosen & may_be_masked
    targets = may_be_masked.copy()
    if shift:
        targets[0] = False
    return Noised(ids, mask, targets, np.where(mask & targets, weights, 0.0), ratio)
