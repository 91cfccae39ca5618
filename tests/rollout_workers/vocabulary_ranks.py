"""What one process does that has a part of the vocabulary, beside others that have the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from common.models.transformer import MaskedDiffusionModel
from common.records import Sampler
from rollout_workers.decoders import Candidates
from rollout_workers.denoiser import TorchDenoiser
from rollout_workers.engine import DenoisingEngine
from rollout_workers.kernels import Kernels
from rollout_workers.replay import replay
from rollout_workers.requests import Request
from rollout_workers.sampling import TokenSampler
from rollout_workers.vocabulary import GroupRanks, Vocabulary

#: Found in each of some processes, and without any: equal on all of them.
Found = dict[str, Any]


@dataclass(frozen=True)
class Work:
    """Samplers for tables of whole logits [n, V], with the numbers that draw from them; and for a model."""

    tables: Mapping[str, Tensor]
    uniforms: Tensor
    samplers: Sequence[Sampler]
    damaged: Tensor
    model: MaskedDiffusionModel
    requests: Sequence[Request]
    decoders: Sequence[Sampler]


@dataclass
class CountingRanks:
    """The real ranks; ``most`` is the most numbers that a rank was asked for at once, per row."""

    ranks: GroupRanks
    most: int = 0
    rank: int = field(init=False)

    def __post_init__(self) -> None:
        self.rank = self.ranks.rank

    def gather(self, tensor: Tensor) -> Tensor:
        self.most = max(self.most, tensor[0].numel())
        return self.ranks.gather(tensor)

    def reset(self) -> None:
        self.most = 0


class SplitDenoiser(TorchDenoiser):
    """The real denoiser, which has but its own rows of the output layer's weight, as vLLM pads and cuts it."""

    def __init__(self, model: MaskedDiffusionModel, vocabulary: Vocabulary) -> None:
        super().__init__(model)
        self.vocabulary = vocabulary
        weight = model.lm_head.weight
        padded = torch.nn.functional.pad(
            weight, (0, 0, 0, max(0, vocabulary.first + vocabulary.size - len(weight)))
        )
        self._weight = padded[vocabulary.first : vocabulary.first + vocabulary.size]
        self._never = torch.tensor(vocabulary.columns_never_predicted(model.config.forbidden_token_ids)).long()

    def local_logits(self, rows: Tensor) -> Tensor:
        return (rows @ self._weight.T).index_fill_(-1, self._never, -torch.inf)

    def logits(self, rows: Tensor) -> Tensor:
        return self.vocabulary.join(self.local_logits(rows))


def gap_to_the_mean(candidates: Candidates) -> Tensor:
    """A decoder from outside that looks at whole logits."""
    finite = candidates.logits.clamp(min=-1e4)
    return finite.amax(-1) - finite.mean(-1)


def columns(total: int, ranks: int) -> int:
    """Columns of each rank: the vocabulary is padded to a multiple of 64, here also of the number of ranks."""
    return -(-(total + -total % 64) // ranks)


def find_whole(work: Work) -> Found:
    """What one process finds that has the whole vocabulary."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found = _find(work, Vocabulary.whole, lambda: None)
    torch.set_num_threads(threads)
    return found


def find_in_parts(rank: int, worlds: Sequence[int], work: Work, folder: Path) -> None:
    """Save what this rank finds among the first so many ranks."""
    for world in worlds:
        group = dist.new_group(range(world))
        if rank < world:
            ranks = CountingRanks(GroupRanks(group))

            def part(total: int, world: int = world, ranks: CountingRanks = ranks) -> Vocabulary:
                return Vocabulary(total, columns(total, world), ranks)

            found = _find(work, part, ranks.reset)
            torch.save(found, folder / f"{world}-{rank}.pt")


def _find(work: Work, vocabulary_of: Callable[[int], Vocabulary], reset: Callable[[], None]) -> Found:
    found: Found = {}
    for sampler in work.samplers:
        for name, table in work.tables.items():
            vocabulary = vocabulary_of(table.shape[1])
            reset()
            found[f"{name}: {label(sampler)}"] = {
                **_statistics(TokenSampler(sampler, Kernels(), vocabulary), table, work.uniforms),
                "most numbers": _most(vocabulary),
            }
    damaged = TokenSampler(work.samplers[0], Kernels(), vocabulary_of(work.damaged.shape[1]))
    drawn = damaged.draw(_columns(work.damaged, damaged.vocabulary), work.uniforms[: len(work.damaged)])
    found["damaged"] = (~drawn.model_logprobs.isfinite()).tolist()
    vocabulary = vocabulary_of(work.model.config.vocab_size)
    denoiser = TorchDenoiser(work.model) if vocabulary.is_whole else SplitDenoiser(work.model, vocabulary)
    engine = DenoisingEngine(denoiser)
    for sampler in work.decoders:
        reset()
        completions = engine.run(work.requests, sampler)
        found[label(sampler)] = {"completions": completions, "most numbers": _most(vocabulary)}
    request, completion = work.requests[0], completions[0]
    found["scored"] = replay(denoiser, request.prompt_ids, completion)
    return found


def label(sampler: Sampler) -> str:
    return sampler.model_dump_json()


def _most(vocabulary: Vocabulary) -> int:
    return vocabulary.ranks.most if isinstance(vocabulary.ranks, CountingRanks) else 0


def _columns(table: Tensor, vocabulary: Vocabulary) -> Tensor:
    padding = max(0, vocabulary.first + vocabulary.size - vocabulary.total)
    padded = torch.nn.functional.pad(table, (0, padding), value=-torch.inf)
    return padded[:, vocabulary.first : vocabulary.first + vocabulary.size].clone()


def _statistics(tokens: TokenSampler, table: Tensor, uniforms: Tensor) -> dict[str, Tensor]:
    logits = _columns(table, tokens.vocabulary)
    draws = tokens.draw(logits, uniforms)
    return {
        "entropies": tokens.entropies(tokens.filtered(logits)),
        "margins": tokens.margins(tokens.filtered(logits)),
        **draws._asdict(),
    }
