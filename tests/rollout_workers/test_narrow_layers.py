"""Layers whose products are in bf16: hidden states as the learner's, by few passes over memory beside products."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from common.models import precision
from common.models.narrow_passes import NarrowPasses
from common.models.packing import Packing, Queries
from common.models.transformer import MaskedDiffusionModel
from orchestrator.commands.doctor import machine
from rollout_workers.denoiser import TorchDenoiser
from tests.deploy.tools import missing

MakeModel = Callable[..., MaskedDiffusionModel]
LENGTHS = (5, 9, 9, 3)
PACKING = Packing.of(LENGTHS)
IDS = torch.arange(2, 2 + sum(LENGTHS))
SOME = Queries(torch.tensor([1, 4, 6, 13, 14, 24]), (2, 1, 2, 1))


@pytest.fixture(autouse=True)
def bf16_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a CPU compute as one with instructions for bf16 does."""
    monkeypatch.setattr(precision, "cpu_multiplies_bf16", lambda: True)


class Counted(TorchDispatchMode):
    """Counts operators that write, but for those of passes: their calls, and the bytes that they move."""

    def __init__(self) -> None:
        super().__init__()
        self.operators: Counter[str] = Counter()
        self.passes: Counter[str] = Counter()
        self.bytes = 0
        self._inside = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not self._inside and not func.is_view:
            self.operators[func.overloadpacket.__name__] += 1
        return func(*args, **kwargs or {})

    def counted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any) -> Any:
            self._inside = True
            result = function(*arguments)
            self._inside = False
            self.passes[name] += 1
            self.bytes += sum(t.nbytes for t in tree_leaves((arguments, result)) if isinstance(t, Tensor))
            return result

        return called


def one_layer(make_model: MakeModel) -> Counted:
    """Count what a pass does for a layer that is not the last."""
    found = []
    for layers in (2, 3):
        denoiser = TorchDenoiser(make_model(num_hidden_layers=layers), torch.bfloat16)
        count, passes = Counted(), NarrowPasses()
        names = [field.name for field in fields(passes)]
        denoiser._layers.passes = NarrowPasses(
            **{name: count.counted(name, getattr(passes, name)) for name in names}
        )
        with count:
            denoiser.hidden(IDS, PACKING, SOME)
        found.append(count)
    one = found[1]
    one.operators.subtract(found[0].operators)
    one.passes.subtract(found[0].passes)
    one.bytes -= found[0].bytes
    return one


@pytest.mark.parametrize("queries", [None, SOME])
def test_hidden_states_are_as_near_to_exact_ones_as_the_learners(
    make_model: MakeModel, queries: Queries | None
) -> None:
    rows = slice(None) if queries is None else queries.rows
    model = make_model(num_hidden_layers=3)
    exact = TorchDenoiser(make_model(num_hidden_layers=3)).hidden(IDS, PACKING)[rows]
    denoiser = TorchDenoiser(model, torch.bfloat16)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        learners = model.hidden(IDS, PACKING)[rows].bfloat16()
    found = denoiser.hidden(IDS, PACKING, queries)
    assert found.dtype is torch.bfloat16
    error, allowed = ((t - exact).abs().mean() for t in (found, learners))
    assert error < 1.5 * allowed
    assert allowed < 0.05 * exact.abs().mean()


def test_a_layer_is_four_products_attention_and_four_passes(make_model: MakeModel) -> None:
    one = one_layer(make_model)
    assert +one.passes == Counter({"added": 2, "turned": 1, "gated": 1})
    operators = +one.operators
    assert operators.pop("linear") == 4
    # Attention is a call for each length on a CPU; what it returns is put into its place.
    lengths = len(set(LENGTHS))
    assert operators.pop("scaled_dot_product_attention") == lengths
    assert operators.pop("copy_") == lengths
    assert operators.pop("new_empty") == 1
    assert not operators, "autocast casts nothing, and nothing else is computed"


def test_the_passes_of_a_layer_move_so_many_bytes(make_model: MakeModel) -> None:
    config, rows = make_model().config, sum(LENGTHS)
    width, inner, head = config.hidden_size, config.intermediate_size, config.head_dim
    turned = (config.num_attention_heads + config.num_key_value_heads) * head
    added = rows * width * (4 + 2 + 4 + 2) + 4 * width  # the sum and what comes to it, and both again; the weight
    turning = rows * (2 * turned + 2 * turned + 2 * 4 * head)
    gate = rows * inner * (2 + 2 + 2)
    assert one_layer(make_model).bytes == 2 * added + turning + gate


@pytest.fixture
def compiler() -> None:
    if machine.compiler().status != "ok":
        missing("torch.compile needs a C++ compiler with Python's headers")


@pytest.mark.usefixtures("compiler")
def test_compiled_a_pass_is_one_loop_over_memory_and_computes_the_same() -> None:
    """The compiler for CPUs makes two of ``added``: it writes the sum first."""
    from torch._inductor import config

    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    x, update, weight = random(7, 32), random(7, 32).bfloat16(), random(32)
    heads, tables = random(7, 6, 8).bfloat16(), [random(7, 1, 4).repeat(1, 1, 2) for _ in range(2)]
    arguments = {
        "normed": (x, weight, 1e-6),
        "added": (x, update, weight, 1e-6),
        "turned": (heads, *tables),
        "gated": (random(7, 96).bfloat16(),),
    }
    plain, compiled, loops = NarrowPasses(), NarrowPasses.compiled(), Counter[str]()
    for name, given in arguments.items():

        def counted(nodes: list[Any], name: str = name) -> list[Any]:
            loops[name] += len(nodes)
            return nodes

        # One process: a pool of compilers would outlive the tests.
        settings = {"compile_threads": 1, "_post_fusion_custom_pass": counted, "force_disable_caches": True}
        with config.patch(settings), torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            found = getattr(compiled, name)(*given)
            expected = getattr(plain, name)(*given)
        torch.testing.assert_close(found, expected, rtol=2**-7, atol=1e-3)  # a rounding to bf16 apart
    assert loops == Counter({"normed": 1, "added": 2, "turned": 1, "gated": 1})


@pytest.mark.usefixtures("compiler")
def test_a_denoiser_computes_the_same_compiled(make_model: MakeModel) -> None:
    from torch._inductor import config

    denoiser = TorchDenoiser(make_model(), torch.bfloat16)
    plain = [denoiser.hidden(IDS, PACKING, queries).float() for queries in (None, SOME)]
    with config.patch(compile_threads=1):
        denoiser.compile()
    assert denoiser._layers.passes != NarrowPasses()
    for queries, expected in zip((None, SOME), plain, strict=True):
        found = denoiser.hidden(IDS, PACKING, queries).float()
        assert (found - expected).abs().mean() < 0.01 * expected.abs().mean()


def test_where_the_compiler_fails_the_plain_passes_stay_and_a_warning_says_so(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from torch._dynamo.exc import BackendCompilerFailed

    def fails(*arguments: object) -> Tensor:
        raise BackendCompilerFailed(fails, RuntimeError("no Triton"), None)

    monkeypatch.setattr(NarrowPasses, "compiled", classmethod(lambda cls: cls(normed=fails)))
    denoiser = TorchDenoiser(make_model(), torch.bfloat16)
    denoiser.compile()
    assert denoiser._layers.passes == NarrowPasses()
    assert "the passes between products in bf16 run uncompiled" in caplog.text
    assert "no Triton" in caplog.text


def test_in_fp32_nothing_is_compiled(make_model: MakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NarrowPasses, "compiled", None)
    TorchDenoiser(make_model()).compile()
