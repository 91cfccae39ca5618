"""The estimators and objectives that a recipe can choose, each with its own options.

``kind`` says which: one of ours, or one of the user's by ``module:name`` or by the name of an installed plug-in,
whose options its own class declares. A kind alone, ``estimator: trace``, takes the defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from common.config.base import Amount, Positive, Rate, Section, Share, kind_of, with_kind
from common.numbers import LARGEST_NUMBER

#: The tag of what is none of ours; no kind can be called so.
PLUGIN_TAG = "module:name"


class PairsConfig(Section):
    """What estimators of a full mask and pairs of masks have in common."""

    kind: str
    mask_pairs: Positive = 1
    """lambda, mask pairs per sample."""
    mask_ratio: tuple[float, float] = (0.2, 0.8)
    """Range of the mask ratio r ~ U(low, high); of ``decoupled``, symmetric about 0.5."""
    weighting: Literal["paper", "normalized"] = "paper"
    """``paper``: weights 1/r and 1/(1-r), total 1.5 per token at lambda 1. ``normalized``: divided by their
    total."""

    @model_validator(mode="after")
    def _ratio_is_a_range(self) -> Self:
        low, high = self.mask_ratio
        if not 0 < low <= high < 1:
            raise ValueError("mask_ratio: needs 0 < low <= high < 1")
        return self


class CoupledConfig(PairsConfig):
    """Full mask and pairs of complementary masks (DiffuCoder, arXiv 2506.20639)."""

    kind: Literal["coupled"] = "coupled"


class DecoupledConfig(PairsConfig):
    """As many masks as ``coupled`` has, drawn apart: the baseline of DiffuCoder."""

    kind: Literal["decoupled"] = "decoupled"

    @model_validator(mode="after")
    def _ratio_is_symmetric(self) -> Self:
        low, high = self.mask_ratio
        if abs(low + high - 1.0) > 1e-9:
            raise ValueError(
                "mask_ratio: complements have the ratio 1 - r; to compare with them, decoupled needs a range that "
                "is symmetric about 0.5"
            )
        return self


class FullMaskConfig(Section):
    """One pass with the completion masked, and a part of the prompt (d1, arXiv 2504.12216)."""

    kind: Literal["full_mask"] = "full_mask"
    prompt_mask: Share = 0.0
    """Share of the prompt's tokens that are masked: 0.15 of d1 and wd1."""


class RandomMaskConfig(Section):
    """One random subset of the completion (UniGRPO, arXiv 2505.15809)."""

    kind: Literal["random_mask"] = "random_mask"


class ElboConfig(Section):
    """Evidence lower bound by complementary subsets of an exact size (ESPO, arXiv 2512.03759)."""

    kind: Literal["elbo"] = "elbo"
    mask_pairs: Positive = 1
    """Pairs of a subset and its complement per sample."""


class ElboSystematicConfig(Section):
    """Evidence lower bound by subsets whose sizes are evenly spread (BGPO, arXiv 2510.11683)."""

    kind: Literal["elbo_systematic"] = "elbo_systematic"
    subsets: Positive = 16
    """Subsets per sample, each with its own mask."""


class ElboQuadratureConfig(Section):
    """Evidence lower bound by quadrature over the mask ratio (GDPO, arXiv 2510.08554)."""

    kind: Literal["elbo_quadrature"] = "elbo_quadrature"
    nodes: Positive = 2
    """Mask ratios of the quadrature."""


class ElboBlocksConfig(Section):
    """Evidence lower bound of text that is written block by block (SPG, arXiv 2510.09541)."""

    kind: Literal["elbo_blocks"] = "elbo_blocks"
    blocks: Positive = 2
    """Blocks per sample, of each of which a view masks a part, and all that follows."""
    block_length: Positive = 32
    """Tokens of a block; that of the rollout where it has one."""
    prompt_mask: Share = 0.0
    """Share of the tokens before the block that are masked as well, the prompt's included: 0.15 of spg."""


class TraceConfig(Section):
    """The denoising steps of the rollout (TraceRL, arXiv 2509.06949)."""

    kind: Literal["trace"] = "trace"
    merged_steps: Positive = 1
    """Denoising steps that share one view."""


class LeftToRightConfig(Section):
    """One view a token, those to its left shown (JustGRPO, arXiv 2601.15165): for ``rollout.block_length: 1``."""

    kind: Literal["left_to_right"] = "left_to_right"


class ClippedConfig(Section):
    """What objectives with clipped ratios have in common."""

    kind: str
    clip: Rate = 0.5
    """epsilon: ratios below 1 - epsilon gain nothing more."""
    clip_high: Rate | None = None
    """epsilon above 1; without it, ``clip`` on both sides."""
    kl_weight: Amount = 0.01
    """beta of the KL; 0 runs without a reference."""
    kl_to: Literal["reference", "step_start"] = "reference"
    """The policy that the KL is to: the reference, or that of the step's start, which is not held apart."""


class GrpoConfig(ClippedConfig):
    """Clipped ratios of tokens and a KL (DiffuCoder, arXiv 2506.20639)."""

    kind: Literal["grpo"] = "grpo"
    kl: Literal["k2", "k3"] = "k3"
    """Estimator of a token's KL: k3 = e^d - d - 1 (paper), or k2 = d^2 / 2, d the other policy's log ratio."""


class SequenceConfig(ClippedConfig):
    """One clipped ratio a completion and a KL (ESPO, arXiv 2512.03759; GSPO)."""

    kind: Literal["sequence"] = "sequence"
    kl: Literal["k2", "k3"] = "k2"
    """Estimator of the KL of a completion, d the difference of its log-likelihoods, over its L tokens:
    k2 = d^2 / (2 L) (ESPO), or k3 = (e^d - d - 1) / L, which overflows where d is large."""


class Wd1Config(Section):
    """Weighted likelihoods without a ratio or a reference (wd1, arXiv 2507.08838)."""

    kind: Literal["wd1"] = "wd1"


class SpgConfig(Section):
    """A lower or an upper bound of the likelihood, by the advantage's sign (SPG, arXiv 2510.09541)."""

    kind: Literal["spg"] = "spg"
    beta: Annotated[float, Field(ge=1, le=LARGEST_NUMBER)] = 1.5
    """Power in the upper bound."""
    mix: Share = 0.5
    """Share of the upper bound where a likelihood is lowered; the rest is the lower bound."""


class VrpoConfig(Section):
    """Preferences between the better and the worse completions of a group (LLaDA 1.5, arXiv 2505.19223)."""

    kind: Literal["vrpo"] = "vrpo"
    beta: Rate = 0.2
    """Scale of the log ratios."""


class BgpoConfig(Section):
    """A bound of the clipped surrogate that is a mean over draws of masks (BGPO, arXiv 2510.11683)."""

    kind: Literal["bgpo"] = "bgpo"
    clip: Rate = 0.2
    """epsilon: ratios below 1 - epsilon gain nothing more."""
    clip_high: Rate | None = None
    """epsilon above 1; without it, ``clip`` on both sides."""
    dual_clip: Annotated[float, Field(gt=1, le=LARGEST_NUMBER)] = 3.0
    """Ratios above it count no more where the advantage is negative."""


class GdsdConfig(Section):
    """Self-distillation of the denoiser, guided by advantages (GDSD, arXiv 2605.29398)."""

    kind: Literal["gdsd"] = "gdsd"
    psi: Rate = 10.0
    """Change of a token's mean log-probability that an advantage of 1 asks for."""
    clip: Annotated[float, Field(gt=0, lt=1)] = 0.0004
    """epsilon: a completion learns while its log-probability is between log(1 - epsilon) and log(1 + epsilon) off
    the old one."""
    kl_weight: Amount = 0.05
    """beta of the KL to the reference; 0 runs without a reference."""


class StableDrlConfig(Section):
    """The bounds of SPG, weighed within a group by clipped ratios (StableDRL, arXiv 2603.06743)."""

    kind: Literal["stable_drl"] = "stable_drl"
    beta: Annotated[float, Field(ge=1, le=LARGEST_NUMBER)] = 1.5
    """Power in the upper bound, as of ``spg``."""
    mix: Share = 0.5
    """Share of the upper bound where a likelihood is lowered, as of ``spg``."""
    ratio_cap: Rate = 5.0
    """Ratios count up to it, before they are divided by their sum over the group."""


class PluginConfig(Section):
    """An estimator or objective of yours; its class takes the other keys and checks them."""

    model_config = ConfigDict(extra="allow")

    kind: str
    """``package.module:name``, or the name that an installed package gives it (docs/extending.md)."""

    @property
    def options(self) -> Mapping[str, Any]:
        """The keys beside ``kind``."""
        return dict(self.model_extra or {})


#: Our own kinds; the first of each is the default.
ESTIMATORS: Mapping[str, type[Section]] = {
    "coupled": CoupledConfig,
    "decoupled": DecoupledConfig,
    "full_mask": FullMaskConfig,
    "random_mask": RandomMaskConfig,
    "elbo": ElboConfig,
    "elbo_systematic": ElboSystematicConfig,
    "elbo_quadrature": ElboQuadratureConfig,
    "elbo_blocks": ElboBlocksConfig,
    "trace": TraceConfig,
    "left_to_right": LeftToRightConfig,
}
OBJECTIVES: Mapping[str, type[Section]] = {
    "grpo": GrpoConfig,
    "sequence": SequenceConfig,
    "wd1": Wd1Config,
    "spg": SpgConfig,
    "vrpo": VrpoConfig,
    "bgpo": BgpoConfig,
    "gdsd": GdsdConfig,
    "stable_drl": StableDrlConfig,
}


def carried(kinds: Mapping[str, type[Section]], preset: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """Return the options of a preset's section that still hold under another kind.

    All do under its own kind. Under another one, those do that a common base class declares; the rest is the other
    kind's own, and takes its defaults.
    """
    if kind == preset["kind"]:
        return preset
    if kind not in kinds:
        return {}
    theirs, shared = kinds[preset["kind"]], set[str]()
    for base in kinds[kind].__mro__:
        if issubclass(base, Section) and issubclass(theirs, base):
            shared |= base.model_fields.keys()
    return {name: value for name, value in preset.items() if name in shared and name != "kind"}


def _tag_among(kinds: Mapping[str, type[Section]]) -> Callable[[Any], str]:
    def tag(value: Any) -> str:
        kind = kind_of(value)
        return kind if kind is not None and kind in kinds else PLUGIN_TAG

    return tag


EstimatorConfig = Annotated[
    Annotated[CoupledConfig, Tag("coupled")]
    | Annotated[DecoupledConfig, Tag("decoupled")]
    | Annotated[FullMaskConfig, Tag("full_mask")]
    | Annotated[RandomMaskConfig, Tag("random_mask")]
    | Annotated[ElboConfig, Tag("elbo")]
    | Annotated[ElboSystematicConfig, Tag("elbo_systematic")]
    | Annotated[ElboQuadratureConfig, Tag("elbo_quadrature")]
    | Annotated[ElboBlocksConfig, Tag("elbo_blocks")]
    | Annotated[TraceConfig, Tag("trace")]
    | Annotated[LeftToRightConfig, Tag("left_to_right")]
    | Annotated[PluginConfig, Tag(PLUGIN_TAG)],
    Discriminator(_tag_among(ESTIMATORS)),
    BeforeValidator(lambda value: with_kind(value, "coupled")),
]
ObjectiveConfig = Annotated[
    Annotated[GrpoConfig, Tag("grpo")]
    | Annotated[SequenceConfig, Tag("sequence")]
    | Annotated[Wd1Config, Tag("wd1")]
    | Annotated[SpgConfig, Tag("spg")]
    | Annotated[VrpoConfig, Tag("vrpo")]
    | Annotated[BgpoConfig, Tag("bgpo")]
    | Annotated[GdsdConfig, Tag("gdsd")]
    | Annotated[StableDrlConfig, Tag("stable_drl")]
    | Annotated[PluginConfig, Tag(PLUGIN_TAG)],
    Discriminator(_tag_among(OBJECTIVES)),
    BeforeValidator(lambda value: with_kind(value, "grpo")),
]
