"""What goes into the denoising engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from common.errors import UserError
from common.records import NoiseKey


class RequestError(UserError, ValueError):
    """A completion that this model cannot denoise; the message says why."""


@dataclass(frozen=True)
class Request:
    """One completion to denoise; ``key`` keys its randomness."""

    prompt_ids: tuple[int, ...]
    key: NoiseKey


class HasLength(Protocol):
    """A sampler of any kind."""

    @property
    def completion_length(self) -> int:
        """Tokens to write at most."""


class HasPositions(Protocol):
    """The configuration of a model of any kind."""

    @property
    def max_position_embeddings(self) -> int:
        """Tokens of a sequence at most."""

    @property
    def vocab_size(self) -> int:
        """Rows of the embedding."""


def check_prompt(prompt_ids: tuple[int, ...], sampler: HasLength, config: HasPositions) -> None:
    """Raise :class:`RequestError` for a prompt that the model cannot complete with this sampler."""
    total = len(prompt_ids) + sampler.completion_length
    if not prompt_ids:
        raise RequestError("the prompt is empty; it needs at least one token")
    if total > config.max_position_embeddings:
        raise RequestError(
            f"the prompt is too long: {len(prompt_ids)} tokens and {sampler.completion_length} to write are "
            f"{total}, and the model knows {config.max_position_embeddings} positions; shorten one of them"
        )
    outside = [token for token in prompt_ids if not 0 <= token < config.vocab_size]
    if outside:
        raise RequestError(
            f"prompt token {outside[0]} is not in the vocabulary of {config.vocab_size}; "
            "encode the prompt with the model's own tokenizer"
        )
