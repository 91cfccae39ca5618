"""The entropy sink: how sure a model is of each position at the first denoising steps (DiffuCoder, section 4).

Before anything is written, a model is surest of what stands right behind the prompt, and less and less of what
comes later: confidence by position has the shape of an L. The first steps are made once more here, of one
completion for each task, by the parts that the denoising engine is made of. That costs these steps alone, and
depends on nothing that an evaluation keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from common.records import Sampler
from evaluation.analysis.confidence import FIRST_STEPS, StepConfidence
from rollout_workers.batch import Batch
from rollout_workers.chunks import CHUNK_LOGITS
from rollout_workers.denoise import DenoisingStep
from rollout_workers.denoiser import Denoiser
from rollout_workers.kernels import Kernels
from rollout_workers.requests import Request

_DECIMALS = 6
Table = npt.NDArray[np.float64]


def measure_first_steps(
    denoiser: Denoiser,
    kernels: Kernels,
    sampler: Sampler,
    requests: Sequence[Request],
    tokens: int,
    done: Callable[[int], None] = lambda requests: None,
) -> tuple[StepConfidence, ...]:
    """Make the first :data:`FIRST_STEPS` steps of the requests, and sum up the confidences that they see.

    About ``tokens`` tokens, prompts included, are denoised together. ``done`` hears how many more requests are
    done with. Raises PluginError for a decoder that cannot be loaded.
    """
    make_step = DenoisingStep(denoiser, sampler, kernels)
    seen: list[list[tuple[Table, Table]]] = [[] for _ in range(FIRST_STEPS)]
    for part in _parts(requests, sampler.completion_length, tokens):
        batch = Batch(sampler, denoiser.config, denoiser.device, tokens)
        batch.add(part)
        for of_step in seen:
            if not batch.rows:
                break
            of_step.append(_look(denoiser, batch))
            make_step(batch)
            batch.advance(0, 0.0)
            batch.retire()
        done(len(part))
    return tuple(_summed_up(step, found) for step, found in enumerate(seen) if found)


def _parts(requests: Sequence[Request], length: int, tokens: int) -> Iterator[list[Request]]:
    """Cut into runs that fit into a batch, of one request at least."""
    part: list[Request] = []
    room = tokens
    for request in requests:
        size = len(request.prompt_ids) + length
        if part and size > room:
            yield part
            part, room = [], tokens
        part.append(request)
        room -= size
    if part:
        yield part


@torch.inference_mode()
def _look(denoiser: Denoiser, batch: Batch) -> tuple[Table, Table]:
    """Confidence and entropy [n, L] of the positions of a batch, NaN at those that are committed."""
    masked = batch.masked()
    hidden = denoiser.hidden(batch.canvas.ids, batch.canvas.packing)
    rows = hidden[denoiser.source_rows(batch.canvas.positions[masked])]
    chunk = max(1, CHUNK_LOGITS[denoiser.device.type] // denoiser.vocabulary.total)
    found = [_confidence_and_entropy(denoiser.logits(part)) for part in torch.split(rows, chunk)]
    tables = torch.full((2, *masked.shape), torch.nan, device=masked.device)
    tables[:, masked] = torch.cat(found, 1)
    confidence, entropy = tables.double().cpu().numpy()
    return confidence, entropy


def _confidence_and_entropy(logits: Tensor) -> Tensor:
    """[2, n] of logits [n, V]."""
    probabilities = logits.softmax(-1)
    return torch.stack([probabilities.amax(-1), torch.special.entr(probabilities).sum(-1)])


def _summed_up(step: int, found: Sequence[tuple[Table, Table]]) -> StepConfidence:
    confidence, entropy = (np.concatenate(tables) for tables in zip(*found, strict=True))
    masked = ~np.isnan(confidence)
    counts = masked.sum(0)
    there = counts > 0  # of no value there is no mean, and numpy warns
    mean, variance, uncertain = (np.full(len(counts), np.nan) for _ in range(3))
    mean[there] = np.nanmean(confidence[:, there], 0)
    variance[there] = np.nanvar(confidence[:, there], 0)
    uncertain[there] = np.nanmean(entropy[:, there], 0)
    return StepConfidence(
        step=step,
        masked=tuple(counts.tolist()),
        mean=_rounded(mean),
        variance=_rounded(variance),
        entropy=_rounded(uncertain),
        spread=round(float(np.nanvar(confidence, 1).mean()), _DECIMALS),
    )


def _rounded(values: Table) -> tuple[float | None, ...]:
    return tuple(None if np.isnan(value) else round(float(value), _DECIMALS) for value in values)
