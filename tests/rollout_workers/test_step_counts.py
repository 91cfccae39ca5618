"""What a denoising step does, counted: waits for the device, products, attention calls, multiplications."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from common.models.inference import InferenceModel
from common.models.transformer import MaskedDiffusionModel
from common.records import Completion, NoiseKey, Sampler
from rollout_workers.denoiser import TorchDenoiser
from rollout_workers.engine import DenoisingEngine
from rollout_workers.kernels import Kernels
from rollout_workers.requests import Request

MakeModel = Callable[..., MaskedDiffusionModel]
LENGTH, STEPS = 16, 8
#: Operators whose result's shape, or whose result itself, the host must be told by the device.
WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "equal", "is_nonzero"}
#: Methods of tensors that read them on the host, or put what the host has on the device and wait for that.
READING = {"item", "tolist", "cpu", "__bool__", "__int__", "__float__", "__index__", "tensor", "as_tensor"}
PRODUCTS = ("mm", "addmm", "bmm", "baddbmm")
DECODERS: list[dict[str, Any]] = [
    {"decoder": "entropy"},
    {"decoder": "entropy", "block_length": 8},
    {"decoder": "entropy", "decoder_temperature": 0.3},
    {"decoder": "topk_margin", "top_k": 8},
    {"decoder": "maskgit_plus"},
    {"decoder": "low_confidence", "block_length": 8},
    {"decoder": "origin"},
    {"decoder": "random", "block_length": 8},
]


@pytest.fixture(autouse=True)
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the first layer compute all rows, as on a GPU, which is not asked which tokens changed."""
    monkeypatch.setattr(InferenceModel, "_remembers", lambda self, ids: False)


class Waits(TorchDispatchMode):
    """Counts what would make the host wait for a GPU, the operators, and the bytes that each reads and writes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self.operators: Counter[str] = Counter()
        self.multiplications = 0
        self.moved: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        self.operators[name] += 1
        if name in PRODUCTS:
            one, other = args[-2:]
            self.multiplications += one.numel() * other.shape[-1]
        indices = args[1] if name in ("index", "index_put_", "index_put") else ()
        by_mask = any(isinstance(index, Tensor) and index.dtype is torch.bool for index in indices)
        if name in WAITING or by_mask:
            self.found[name] += 1
        result = func(*args, **kwargs or {})
        if not func.is_view:
            read = args[1:] if name == "copy_" else args  # what is given as out= is written only, too
            self.moved[name] += sum(t.nbytes for t in tree_leaves((read, result)) if isinstance(t, Tensor))
        return result


class Reads(TorchFunctionMode):
    """Counts readings of tensors on the host, some of which reach no operator on a CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.__name__ in READING:
            self.found[func.__name__] += 1
        return func(*args, **kwargs or {})


def sampler(**fields: Any) -> Sampler:
    known = {"temperature": 1.2, "top_p": 0.95, "denoising_steps": STEPS, "completion_length": LENGTH}
    return Sampler.model_validate(known | fields)


def requests(lengths: Sequence[int], vocabulary: int = 40) -> list[Request]:
    ids = np.random.default_rng(0)
    return [
        Request(tuple(ids.integers(2, vocabulary, length).tolist()), NoiseKey(3, "noise-train", (0, 0, row)))
        for row, length in enumerate(lengths)
    ]


def never_ending(make_model: MakeModel, **fields: Any) -> MaskedDiffusionModel:
    """A model that does not end its texts: every step is one of the steady state."""
    model = make_model(tie_word_embeddings=False, **fields)
    with torch.no_grad():
        model.lm_head.weight[list(model.config.end_token_ids)] = 0.0
        model.lm_head.weight.mul_(40.0)
    return model


@pytest.mark.parametrize("searching", [False, True], ids=["sorting", "searching"])
@pytest.mark.parametrize("case", DECODERS, ids=lambda case: "-".join(map(str, case.values())))
def test_no_step_waits_for_the_device(make_model: MakeModel, case: dict[str, Any], searching: bool) -> None:
    """The path of a GPU, on a CPU: what is finished is learned a step late."""
    denoiser = TorchDenoiser(never_ending(make_model))
    engine = DenoisingEngine(denoiser, kernels=Kernels(searches=searching), deferred=True)
    engine.add(requests([5, 9, 9, 3]), sampler(**case))
    engine.step()
    waits, reads = Waits(), Reads()
    for _ in range(3):
        with waits, reads:
            finished = engine.step()
        assert not finished
    assert not waits.found
    assert not reads.found


def test_the_counters_notice_what_waits() -> None:
    waits, reads = Waits(), Reads()
    numbers = torch.arange(4)
    with waits, reads:
        numbers[numbers > 1].tolist()
        if numbers.any():
            numbers.nonzero()
        numbers[numbers > 2] = 0
        int(numbers.sum())
        torch.tensor([1])
    assert waits.found.keys() >= {"index", "index_put_", "nonzero", "_local_scalar_dense"}
    assert reads.found.keys() >= {"tolist", "__bool__", "__int__", "tensor"}


@pytest.mark.parametrize("case", [*DECODERS, {"decoder": "threshold", "threshold": 0.3, "block_length": 8}])
def test_what_is_learned_a_step_late_is_the_same(make_model: MakeModel, case: dict[str, Any]) -> None:
    """Also where rows end early, and others take their places."""
    model, batch, setting = (
        make_model(vocab_size=12),
        requests([1, 6, 3, 3, 8, 2, 7, 7, 4, 5], 12),
        sampler(**case),
    )

    def completions(deferred: bool, tokens: int) -> list[Completion]:
        return DenoisingEngine(TorchDenoiser(model), tokens, deferred=deferred).run(batch, setting)

    def plain(found: Sequence[Completion]) -> list[object]:
        return [done.model_dump(exclude={"logprobs", "model_logprobs"}) for done in found]

    expected = plain(completions(False, 16384))
    assert len({done.end for done in completions(False, 16384)}) > 2, "rows must end at different times"
    for tokens in (16384, 60):
        assert plain(completions(True, tokens)) == expected


def counted(engine: DenoisingEngine) -> Waits:
    """Count the operators and multiplications of one step."""
    waits = Waits()
    with waits:
        engine.step()
    assert not waits.operators.keys() & {"matmul", "linear", "scaled_dot_product_attention"}
    return waits


def test_a_step_makes_no_product_that_could_be_left_out(make_model: MakeModel) -> None:
    """Keys and values of all rows everywhere, the rest of the last layer and the head of masked rows alone.

    The head's products serve the choice of positions and the draw of their tokens.
    """
    model = never_ending(make_model)
    config, lengths = model.config, [5, 9, 9, 3]
    engine = DenoisingEngine(TorchDenoiser(model))
    engine.add(requests(lengths), sampler())
    engine.step()
    masked = len(lengths) * (LENGTH - LENGTH // STEPS)
    width, inner = config.hidden_size, config.intermediate_size
    kv = config.num_key_value_heads * config.head_dim
    rows = sum(lengths) + LENGTH * len(lengths)
    seen = sum((length + LENGTH) ** 2 for length in lengths)
    own = 2 * width * width + 3 * width * inner  # of a row whose state is wanted: query, output, feed-forward
    layer = rows * (own + 2 * width * kv) + 2 * width * seen
    asked = masked // len(lengths)
    last = masked * own + rows * 2 * width * kv + 2 * width * sum(asked * (length + LENGTH) for length in lengths)
    head = masked * width * config.vocab_size
    assert counted(engine).multiplications == layer * (config.num_hidden_layers - 1) + last + head


def one_layer(make_model: MakeModel, lengths: Sequence[int]) -> Waits:
    """Count what a step does for a layer that is not the last."""
    found = []
    for layers in (2, 3):
        engine = DenoisingEngine(TorchDenoiser(never_ending(make_model, num_hidden_layers=layers)))
        engine.add(requests(lengths), sampler())
        engine.step()
        found.append(counted(engine))
    found[1].operators.subtract(found[0].operators)
    found[1].moved.subtract(found[0].moved)
    return found[1]


def test_a_layer_is_so_many_operators(make_model: MakeModel) -> None:
    """Products: queries, keys and values at once, output, gate and up at once, down. One attention per length."""
    one = one_layer(make_model, [5, 9, 9, 3]).operators
    lengths = 3
    assert one["mm"] + one["addmm"] == 4
    assert one["bmm"] == one["baddbmm"] == lengths
    assert one["softmax"] == lengths
    per_element = ("mul", "mul_", "add", "add_", "sub", "neg", "silu", "silu_", "pow", "rsqrt_", "addcmul_", "cat")
    assert one["cat"] == 0
    # Two norms of two passes, one rotary turn of three, gate times up of two; scores are scaled as they are made.
    assert sum(one[name] for name in per_element) <= 2 * 4 + 3 + 2 + 1


def test_a_layer_moves_so_many_bytes_beside_its_products(make_model: MakeModel) -> None:
    """A norm reads its input twice and what it writes once; so does a turn; gate and up are read and written."""
    prompts = [5, 9, 9, 3]
    moved = one_layer(make_model, prompts).moved
    config = make_model().config
    lengths = [prompt + LENGTH for prompt in prompts]
    rows, width, inner = sum(lengths), config.hidden_size, config.intermediate_size
    turned = (config.num_attention_heads + config.num_key_value_heads) * config.head_dim
    norm = 5 * rows * width + 10 * rows + width  # 10: the length of each row, and the scale that it becomes
    turn = 5 * rows * turned + 2 * rows * config.head_dim
    gate = 5 * rows * inner
    scores = 2 * config.num_attention_heads * sum(length**2 for length in lengths)
    into_place = 2 * rows * width
    beside = [name for name in moved if name not in (*PRODUCTS, "new_empty")]
    expected = 2 * norm + turn + gate + scores + into_place
    assert sum(moved[name] for name in beside) == expected * torch.float32.itemsize
