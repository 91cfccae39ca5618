"""Bytes of a DeepSpeed rank by part, reckoned from the configuration.

Every line below states where its bytes come from: H is the width of the model, I that of its feed-forward blocks,
V its vocabulary, N the tokens of a micro-batch and m the rows of it that are scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from common.config import EngineConfig, LearnerConfig, StageConfig
from common.memory import Estimate, Part
from common.models.config import ModelConfig
from common.models.shapes import is_operand, parameter_shapes, part_size
from learner.deepspeed_settings import LIVE_ELEMENTS, PERSISTENT_ELEMENTS, bucket_elements
from learner.longest import MicroBatch, longest_micro_batches
from learner.objectives.registry import make_objective
from learner.traffic import pass_tokens

LOAD, START, SCORE, FORWARD, BACKWARD = "loading", "start", "scoring", "end of forward pass", "backward pass"
GRADIENTS, STEP, STEPPED, PUBLISH = "end of backward pass", "optimizer step", "end of step", "publishing"
MOMENTS = (LOAD, START, SCORE, FORWARD, BACKWARD, GRADIENTS, STEP, STEPPED, PUBLISH)
_STARTED = frozenset(MOMENTS) - {LOAD}
FP32, _BF16 = 4, 2
#: ZeRO-3 updates at most so many elements at a time, after copying their gradients.
_SUB_GROUP_ELEMENTS = 1_000_000_000


def largest_micro_batch(config: LearnerConfig, prompt: int, completion: int, group_size: int) -> MicroBatch:
    """Return the largest micro-batch, which is one of samples of the greatest length, as the learner makes it.

    ``prompt`` and ``completion`` are that length, in tokens; groups have ``group_size`` samples. Raises
    PluginError for a part that cannot be loaded.
    """
    groups = 1 + pass_tokens(config) // (group_size * (prompt + completion))
    (batches,) = longest_micro_batches(config, prompt, completion, group_size, groups, ranks=1)
    return MicroBatch(max(batch.tokens for batch in batches), max(batch.rows for batch in batches))


def learner_memory(
    model: ModelConfig, config: LearnerConfig, computes_bf16: bool, batch: MicroBatch, on_gpu: bool
) -> Estimate:
    """Estimate what a learner rank takes. ``computes_bf16`` is ``model.dtype: bfloat16``."""
    sizes = Sizes.of(model, config, computes_bf16)
    optimizer, offloaded = _optimizer(sizes, config)
    reference, reference_on_host = _reference(sizes, config)
    weights, weights_on_host = _weights(sizes, config)
    parts = (
        *weights,
        *optimizer,
        *reference,
        *_head(model, config, computes_bf16, batch, make_objective(config.objective).by_token),
        *_activations(model, config, computes_bf16, batch),
        *_publishing(sizes, config),
    )
    host = (*offloaded, *reference_on_host, *weights_on_host)
    return Estimate(MOMENTS, parts, host) if on_gpu else Estimate(MOMENTS, (*parts, *host))


def stage_memory(model: ModelConfig, config: StageConfig) -> Estimate:
    """Estimate what a rank of a supervised stage takes: it holds no reference, scores nothing, publishes nothing.

    The largest micro-batch has every token masked.
    """
    learner, bf16 = config.learner, config.model.dtype == "bfloat16"
    tokens = max(pass_tokens(learner), config.data.context_length)
    batch = MicroBatch(tokens, tokens)
    sizes = Sizes.of(model, learner, bf16)
    optimizer, offloaded = _optimizer(sizes, learner)
    weights, weights_on_host = _weights(sizes, learner)
    moments = [moment for moment in MOMENTS if moment not in (SCORE, PUBLISH)]
    parts = (
        *weights,
        *optimizer,
        *_head(model, learner, bf16, batch, by_token=True),
        *_activations(model, learner, bf16, batch),
    )
    present = tuple(part for part in parts if not part.moments.isdisjoint(moments))
    host = (*offloaded, *weights_on_host)
    on_gpu = learner.gpus_per_rank > 0
    return Estimate(moments, present, host) if on_gpu else Estimate(moments, (*present, *host))


@dataclass(frozen=True)
class Sizes:
    """Elements of every parameter and of those trained, the ranks that share them, and bytes of an element.

    ``held``: as the weights are held. ``read``: as a pass reads each of those that are trained.
    """

    all: Sequence[int]
    trained: Sequence[int]
    ranks: int
    held: int
    read: Sequence[int]

    @classmethod
    def of(cls, model: ModelConfig, config: EngineConfig, computes_bf16: bool) -> Sizes:
        shapes = parameter_shapes(model)
        every = [prod(shape) for shape in shapes.values()]
        trained = every
        held = _BF16 if config.weights_dtype == "bfloat16" else FP32
        read = [_BF16 if computes_bf16 and is_operand(name) else held for name in shapes]
        if config.lora is not None:
            # Two matrices of ``rank`` for each matrix of a layer.
            layers = [shape for name, shape in shapes.items() if "_proj.weight" in name]
            trained = [config.lora.rank * width for shape in layers for width in shape]
            every, read = every + trained, [held] * len(trained)
        return cls(every, trained, config.ranks if config.zero_stage else 1, held, read)

    @property
    def trained_sum(self) -> int:
        return sum(self.trained)

    @property
    def share(self) -> int:
        """Elements of what is trained that one rank updates."""
        return part_size(self.trained_sum, self.ranks)

    @property
    def bucket(self) -> int:
        return bucket_elements(self.trained_sum)


def _weights(sizes: Sizes, config: EngineConfig) -> tuple[list[Part], list[Part]]:
    # They are read as fp32. ZeRO 1 and 2 then copy what is trained, in the type in which it stays, into one piece.
    copied = sizes.trained_sum if config.zero_stage in (1, 2) else 0
    from_file = max(sum(sizes.all) * FP32, (sum(sizes.all) + copied) * sizes.held)
    loading = _part("weights from the file", from_file, LOAD)
    if config.zero_stage < 3:
        return [loading, _part("weights", sum(sizes.all) * sizes.held)], []
    # Of each parameter a part; small ones are whole as well.
    parts = sum(part_size(n, sizes.ranks) for n in sizes.all)
    small = sum(n for n in sizes.all if n <= PERSISTENT_ELEMENTS)
    large = [n for n in sizes.all if n > PERSISTENT_ELEMENTS]
    # Gathered weights are kept for their next use up to a limit, and the next ones are fetched meanwhile.
    live = min(sum(large), LIVE_ELEMENTS + max(large, default=0))
    here = [
        loading,
        _part("small weights, whole", small * sizes.held),
        _part("gathered weights", live * sizes.held, SCORE, FORWARD, BACKWARD),
    ]
    own = _part("weights", parts * sizes.held)
    return (here, [own]) if config.zero_offload == "all" else ([own, *here], [])


def _optimizer(sizes: Sizes, config: EngineConfig) -> tuple[list[Part], list[Part]]:
    stage, share = config.zero_stage, sizes.share
    lowered = sizes.held != FP32
    # They come into being with the first step, and stay.
    parts = [Part("Adam's averages", 2 * share * FP32, _STARTED - {START})]
    # ZeRO copies its share of fp32 weights, too.
    if stage:
        parts.append(_part("fp32 master weights", share * FP32))
    gradients = _gradients(sizes, stage, lowered)
    # The gradient of the largest parameter, whole, and in fp32 while it is averaged.
    largest = max(sizes.trained) * (sizes.held + (FP32 if lowered and stage > 1 else 0))
    gradients.append(_part("largest gradient", largest, BACKWARD))
    if stage == 3:
        # A copy of the gradients that are being applied.
        gradients.append(_part("gradients being applied", min(share, _SUB_GROUP_ELEMENTS) * FP32, STEP))
    if config.zero_offload == "none":
        return [*parts, *gradients], []
    return gradients, [*parts, _part("gradients for the optimizer", share * FP32)]


def _gradients(sizes: Sizes, stage: int, lowered: bool) -> list[Part]:
    """List gradients, of all that is trained or of this rank's share, and the buffers that average them."""
    everything, share, bucket = sizes.trained_sum * FP32, sizes.share * FP32, sizes.bucket
    # Those of earlier micro-batches are there while the next is scored.
    passing = (SCORE, FORWARD, BACKWARD, GRADIENTS, STEP)
    match stage, lowered:
        case 0, _:
            return [_part("gradients", everything, *passing)]
        case 1, False:
            return [
                _part("gradients", everything, SCORE, FORWARD, BACKWARD),
                _part("averaging gradients", bucket * FP32, SCORE, FORWARD, BACKWARD),
                _part("gradients of the share", share, GRADIENTS, STEP),
            ]
        case 1, True:
            return [_part("gradients", everything), _part("averaging gradients", bucket * FP32, BACKWARD)]
        case 2, _:
            # A bucket in the type of the weights, and in fp32 while it is averaged.
            buffers = bucket * (sizes.held + (FP32 if lowered else 0))
            return [
                _part("gradients", share, *passing),
                _part("averaging gradients", buffers, BACKWARD),
            ]
        case _:
            return [_part("gradients", share), _part("averaging gradients", bucket * FP32)]


def reference_parts(sizes: Sizes) -> list[tuple[int, int]]:
    """List elements of a rank's part of each weight of the reference, and bytes of each as a pass reads it.

    Only large weights are cut.
    """
    return [
        (part_size(elements, sizes.ranks if elements > PERSISTENT_ELEMENTS else 1), read)
        for elements, read in zip(sizes.trained, sizes.read, strict=True)
    ]


def mixes_reference(config: LearnerConfig) -> bool:
    """Return whether the reference becomes a mixture with the policy, which adds up in fp32."""
    return config.reference_sync_steps > 0 and 0.0 < config.reference_sync_share < 1.0


def _reference(sizes: Sizes, config: LearnerConfig) -> tuple[list[Part], list[Part]]:
    """List the reference: this rank's part in the type in which it is read, and whole what a module needs."""
    if not make_objective(config.objective).needs_reference:
        return [], []
    own = reference_parts(sizes)
    parts = [Part("reference", sum(elements * read for elements, read in own), frozenset(MOMENTS))]
    host: list[Part] = []
    if config.zero_offload == "all":
        parts, host = [], parts
    if sizes.ranks > 1 or config.zero_offload == "all":
        largest = max(elements * read for elements, read in zip(sizes.trained, sizes.read, strict=True))
        parts.append(_part("reference, one module whole", largest, SCORE))
    if mixes_reference(config):
        # Of what is held in bf16.
        host.append(_part("reference in fp32", sum(elements * FP32 for elements, read in own if read != FP32)))
    return parts, host


def _head(
    model: ModelConfig, config: EngineConfig, computes_bf16: bool, batch: MicroBatch, by_token: bool
) -> list[Part]:
    width, vocabulary = model.hidden_size, model.vocab_size
    trained = config.lora is None
    # The gradient of its weight adds up in fp32: in the forward pass, where the loss is a sum over tokens.
    gradient = vocabulary * width * FP32 if trained else 0
    when = (FORWARD, BACKWARD) if by_token else (BACKWARD,)
    # A chunk of logits, their exponentials, and as operands of a product, at a time.
    chunk = min(batch.rows * vocabulary * FP32, max(1, config.logits_bytes // (4 * vocabulary)) * 4 * vocabulary)
    # bf16 products take a bf16 copy of an fp32 weight.
    copy = vocabulary * width * _BF16 if computes_bf16 and config.weights_dtype == "float32" else 0
    # In and out of the output layer, and the gradient of what goes in: [m, H] each, in fp32.
    rows = 3 * batch.rows * width * FP32
    return [
        _part("head: gradient", gradient, *when),
        _part("head: logits", 3 * chunk + copy, SCORE, BACKWARD),
        _part("head: rows", rows, FORWARD, BACKWARD),
    ]


def _activations(model: ModelConfig, config: EngineConfig, computes_bf16: bool, batch: MicroBatch) -> list[Part]:
    tokens, width = batch.tokens, model.hidden_size
    # The input of each layer, fp32.
    inputs = model.num_hidden_layers * tokens * width * FP32
    graph = tokens * _graph_bytes(model, computes_bf16)
    # A pass that only scores keeps nothing: a layer, and the state between layers.
    scored = _part("layer being computed", graph + 2 * tokens * width * FP32, SCORE)
    if config.gradient_checkpointing:
        # One layer at a time is computed again, and differentiated beside it.
        return [
            _part("activations", inputs, FORWARD, BACKWARD),
            _part("layer computed again", 2 * graph, BACKWARD),
            scored,
        ]
    return [
        _part("activations", inputs + model.num_hidden_layers * graph, FORWARD, BACKWARD),
        _part("layer differentiated", graph, BACKWARD),
        scored,
    ]


def _graph_bytes(model: ModelConfig, computes_bf16: bool) -> int:
    """Return the bytes a token that the backward pass of a layer needs beside its input.

    Both norms give H in fp32, which products read: in bf16 each product keeps a copy of its own. Then what
    attention reads and gives, what its output layer reads, the hidden state between the halves, and three times I:
    gate, up, and the product of up with what SiLU makes of gate.
    """
    width, inner = model.hidden_size, model.intermediate_size
    kv = model.num_key_value_heads * model.head_dim
    if computes_bf16:
        return (
            (3 + 2) * width * _BF16
            + (2 * width + 2 * kv) * _BF16
            + width * _BF16
            + width * FP32
            + 3 * inner * _BF16
        )
    return (1 + 1) * width * FP32 + (2 * width + 2 * kv) * FP32 + width * FP32 + width * FP32 + 3 * inner * FP32


def _publishing(sizes: Sizes, config: EngineConfig) -> list[Part]:
    # No bucket is larger than the model, and a larger parameter has one of its own.
    largest, bucket = max(sizes.all), min(config.bucket_mb << 20, sum(sizes.all) * sizes.held)
    parts = [_part("weight bucket", max(bucket, largest * sizes.held), PUBLISH)]
    if config.zero_stage == 3:
        parts.append(_part("gathered weights for a bucket", max(bucket, largest * sizes.held), PUBLISH))
    return parts


def _part(name: str, size: int, *moments: str) -> Part:
    return Part(name, size, frozenset(moments) or _STARTED)
