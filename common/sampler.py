"""How a completion is denoised: the settings that a recipe gives and that every rollout records."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from common.numbers import LARGEST_COUNT, LARGEST_NUMBER

#: Decoders of Dream and DiffuCoder: one time grid for the whole completion.
DREAM_DECODERS = ("entropy", "topk_margin", "maskgit_plus", "origin")
#: Our own decoders; others come from outside (:mod:`common.plugins`).
DECODERS = (*DREAM_DECODERS, "low_confidence", "random", "threshold")
#: Decoders that commit positions in random order, whatever the model says.
RANDOM_DECODERS = ("origin", "random")
#: Decoders that rank positions by the token drawn there, so that every candidate is drawn at every step.
DRAW_FIRST_DECODERS = ("maskgit_plus", "low_confidence", "threshold")
#: Decoders that commit as many positions at a step as the model's confidence allows.
ADAPTIVE_DECODERS = ("threshold",)
#: Decoders with a published step schedule.
_PUBLISHED_DECODERS = (*DREAM_DECODERS, "low_confidence", "random")

Temperature = Annotated[float, Field(ge=0, le=LARGEST_NUMBER, allow_inf_nan=False)]


class SamplerFields(BaseModel):
    """The settings, their defaults and what they demand of each other."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    decoder: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.-]*(:[A-Za-z_]\w*)?$")] = "entropy"
    """Which masked positions are committed first. Dream and DiffuCoder: ``entropy`` (lowest), ``topk_margin``
    (largest gap between the two likeliest tokens), ``maskgit_plus`` (likeliest drawn token), ``origin`` (random).
    LLaDA: ``low_confidence`` (likeliest drawn token, by the model's own probability) and ``random``. ``threshold``
    commits every drawn token of probability above ``threshold`` at once, which makes it another policy. Another
    decoder is named ``module:function``, or by the name of an installed plug-in."""
    temperature: Temperature = 1.2
    """Sampling temperature; 0 is greedy. The paper's is 1.2 (section 4.2, figure 7)."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Nucleus mass kept before entropy and sampling; 1 keeps everything."""
    top_k: Annotated[int, Field(ge=0, le=LARGEST_COUNT)] = 0
    """Most likely tokens kept before entropy and sampling; 0 keeps everything."""
    decoder_temperature: Temperature = 0.0
    """Above 0, positions are drawn from softmax(confidence / decoder_temperature) instead of taken in order."""
    denoising_steps: Annotated[int, Field(ge=1, le=LARGEST_COUNT)] = 256
    """S; each step commits about L/S tokens."""
    completion_length: Annotated[int, Field(ge=1, le=LARGEST_COUNT)] = 256
    """L, mask tokens after the prompt."""
    block_length: Annotated[int, Field(ge=0, le=LARGEST_COUNT)] = 0
    """Semi-autoregressive blocks: one is finished before the next begins. 0 denoises everything at once."""
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """Probability above which the ``threshold`` decoder commits a token."""
    upstream: bool = False
    """Follow the published step schedule, its integer truncation included, instead of an exact budget per row."""
    approximate_cache: Literal["none", "prefix", "dual"] = "none"
    """Approximate: inside a block, reuse the keys and values of the text before it (``prefix``) or of all that is
    outside it (``dual``). Recorded in every rollout; `couplet bench agreement` shows what it changes."""
    approximate_locking: Annotated[float, Field(ge=0, le=LARGEST_NUMBER)] = 0.0
    """Approximate: a row of the prompt or of a committed token is locked once what it predicts changes between two
    steps by a KL divergence below this, in nats (SureLock, arXiv 2602.06412). It keeps its keys and values in
    every layer and is computed no more. 0 locks nothing. Recorded in every rollout; `couplet bench agreement
    --locking` shows what it changes and what it saves."""
    approximate_measured_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of an approximate sampler's denoising steps, drawn by the completion's key, at which the exact pass
    runs as well. Every rollout records how much likelier the exact model finds the tokens committed there."""

    @property
    def remembers(self) -> bool:
        """Whether passes are computed on remembered keys and values, which makes them approximate."""
        return self.approximate_cache != "none" or self.approximate_locking > 0

    @model_validator(mode="after")
    def _is_one_sampler(self) -> Self:
        steps, length, block = self.denoising_steps, self.completion_length, self.block_length
        if steps > length:
            raise ValueError("denoising_steps: more steps than tokens; set it to at most completion_length")
        if block and length % block:
            raise ValueError("block_length: must divide completion_length, or be 0 for no blocks")
        if block and steps % (length // block):
            count = length // block
            raise ValueError(f"denoising_steps: must be a multiple of the number of blocks, {count} here")
        if self.decoder_temperature and self.decoder in (*RANDOM_DECODERS, "threshold"):
            raise ValueError(f"decoder_temperature: the {self.decoder} decoder ranks nothing; set it to 0")
        if self.upstream and self.decoder not in _PUBLISHED_DECODERS:
            raise ValueError(f"upstream: the {self.decoder} decoder has no published schedule; set it to false")
        if self.upstream and self.decoder in DREAM_DECODERS and 0 < block < length:
            raise ValueError(f"upstream: the published {self.decoder} decoder has no blocks; use block_length 0")
        if self.approximate_cache != "none" and not block:
            raise ValueError("approximate_cache: is renewed at every block; set block_length")
        if self.approximate_cache != "none" and self.approximate_locking:
            raise ValueError("approximate_locking: does not go with approximate_cache; set one of them")
        if self.approximate_measured_share and not self.remembers:
            raise ValueError(
                "approximate_measured_share: every pass is exact; set it to 0, or set approximate_locking or "
                "approximate_cache"
            )
        return self
