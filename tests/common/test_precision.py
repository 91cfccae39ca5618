from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F

from common.models import precision
from common.models.packing import Packing
from common.models.precision import Embedding, Linear, RMSNorm, attend
from common.models.transformer import MaskedDiffusionModel

MakeModel = Callable[..., MaskedDiffusionModel]


@pytest.fixture
def without_instructions(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Emulation, also where the tests run on a CPU that multiplies bf16."""
    monkeypatch.setattr(precision, "cpu_multiplies_bf16", lambda: False)
    with torch.autocast("cpu", torch.bfloat16):
        yield


def layer(seed: int = 0, bias: bool = True) -> Linear:
    torch.manual_seed(seed)
    return Linear(48, 40, bias=bias)


@pytest.mark.usefixtures("without_instructions")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("held", [True, False])
def test_emulated_products_are_those_of_bf16(bias: bool, held: bool) -> None:
    """Equal to torch's own bf16 kernel but for the last bit of a sum."""
    linear = layer(bias=bias)
    x = torch.randn(64, 48)
    own = F.linear(x.bfloat16(), linear.weight.bfloat16(), None if not bias else linear.bias.bfloat16())
    if held:
        linear.hold(torch.bfloat16)
    out = linear(x)
    assert out.dtype is torch.bfloat16
    torch.testing.assert_close(out, own, atol=0.0, rtol=2**-7)
    assert float((out == own).float().mean()) > 0.95


@pytest.mark.usefixtures("without_instructions")
def test_widened_products_are_not_rounded() -> None:
    linear = layer()
    x = torch.randn(64, 48)
    wide = linear(x, widen=True)
    assert wide.dtype is torch.float32
    exact = F.linear(x.bfloat16().double(), linear.weight.bfloat16().double(), linear.bias.bfloat16().double())
    torch.testing.assert_close(wide.double(), exact, atol=1e-5, rtol=0)
    torch.testing.assert_close(linear(x), wide.bfloat16(), atol=0, rtol=0)


def test_without_autocast_it_is_a_plain_linear_layer() -> None:
    linear = layer()
    x = torch.randn(8, 48)
    assert torch.equal(linear(x), F.linear(x, linear.weight, linear.bias))
    before = linear.weight.clone()
    linear.hold(torch.float32)
    assert torch.equal(linear.weight, before)


@pytest.mark.usefixtures("without_instructions")
def test_emulated_attention_is_that_of_bf16() -> None:
    q, k, v = torch.randn(2, 4, 9, 16), torch.randn(2, 2, 11, 16), torch.randn(2, 2, 11, 16)
    out = attend(q, k, v)
    assert out.dtype is torch.bfloat16
    with torch.autocast("cpu", enabled=False):
        own = F.scaled_dot_product_attention(*(t.bfloat16().double() for t in (q, k, v)), enable_gqa=True)
    torch.testing.assert_close(out.double(), own, atol=1e-2, rtol=1e-2)


@pytest.mark.usefixtures("without_instructions")
def test_gradients_flow_through_emulated_products() -> None:
    linear = layer()
    x = torch.randn(8, 48, requires_grad=True)
    linear(x).float().sum().backward()
    assert linear.weight.grad is not None
    torch.testing.assert_close(
        linear.weight.grad, x.bfloat16().float().sum(0).expand(40, -1), atol=2e-2, rtol=2e-2
    )
    assert x.grad is not None


def test_gradient_of_a_bf16_embedding_adds_up_in_fp32() -> None:
    """A mask token occurs thousands of times in a micro-batch."""
    torch.manual_seed(0)
    ids = torch.cat([torch.zeros(3000, dtype=torch.long), torch.tensor([2, 4, 2])])
    slopes = torch.randn(len(ids), 16) + 1.0
    wide = Embedding(6, 16)
    narrow = Embedding(6, 16).bfloat16()
    for table in (wide, narrow):
        rows = table(ids)
        assert rows.dtype is torch.float32
        rows.backward(slopes)
    assert torch.equal(narrow(ids), narrow.weight[ids].float())
    assert wide.weight.grad is not None
    assert narrow.weight.grad is not None
    torch.testing.assert_close(narrow.weight.grad.float(), wide.weight.grad, atol=0, rtol=2**-8)


def test_a_norm_held_in_bf16_keeps_fp32_states() -> None:
    norm = RMSNorm(16)
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(0.5, 1.5, 16).bfloat16())
    x = torch.randn(5, 16)
    expected = norm(x)
    assert torch.equal(norm.bfloat16()(x), expected)


def test_a_model_in_emulated_bf16_is_near_its_native_self(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model()
    packing = Packing.of([9, 5])
    ids = torch.arange(14) % 38 + 2
    with torch.autocast("cpu", torch.bfloat16):
        monkeypatch.setattr(precision, "cpu_multiplies_bf16", lambda: True)
        native = model.logits(model.hidden(ids, packing))
        monkeypatch.setattr(precision, "cpu_multiplies_bf16", lambda: False)
        emulated = model.logits(model.hidden(ids, packing))
    exact = model.logits(model.hidden(ids, packing))
    real = exact.isfinite()
    native_error = (native - exact)[real].abs().mean()
    assert float((emulated - native)[real].abs().mean()) < 2 * float(native_error)
    assert float((emulated - exact)[real].abs().mean()) < 1.5 * float(native_error)
