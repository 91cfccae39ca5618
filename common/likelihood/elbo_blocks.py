"""The evidence lower bound by blocks, as SPG takes it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.likelihood.views import SampleKey, Text, Views


@dataclass(frozen=True)
class BlockElboEstimator:
    """The evidence lower bound where text is written block by block (SPG, arXiv 2510.09541; released code).

    Each view takes one of the text's blocks of ``block_length`` tokens and masks a subset of it, of a size that
    is uniform from 1 up, and all that follows, past the end of the text too. What comes before is masked with
    probability ``prompt_mask``, the prompt as well. In a text of T tokens of which m are masked, a masked one
    counts T/m; the bound is the mean over the views of ``blocks`` blocks.
    """

    blocks: int = 2
    block_length: int = 32
    prompt_mask: float = 0.0

    complete = False

    def views(self, key: SampleKey, text: Text) -> Views:
        random, length, valid = key.mask_generator(), len(text.completion_ids), text.valid_tokens
        available, written = -(-length // self.block_length), -(-valid // self.block_length)
        masks, weights, prompts = [], [], []
        for block in random.permutation(max(available, self.blocks))[: self.blocks] % written:
            start = int(block) * self.block_length
            stop = min(start + self.block_length, valid)
            count = random.integers(1, stop - start + 1)
            mask = np.arange(length) >= stop
            mask[start + random.permutation(stop - start)[:count]] = True
            mask[:start] = random.random(start) < self.prompt_mask
            prompts.append(random.random(len(text.prompt_ids)) < self.prompt_mask)
            masks.append(mask)
            weights.append(mask * (valid / int(mask[:valid].sum())))
        return Views(np.stack(masks), np.stack(weights) / self.blocks, prompt_masks=np.stack(prompts))
