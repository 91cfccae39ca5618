"""What training a model costs in floating-point operations, and how long that takes on GPUs: arithmetic.

The operations of one forward and backward pass are those that PyTorch counts while the model runs on its meta
device, where no number is computed and no weight is held.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from rich.console import Group
from rich.table import Table
from rich.text import Text
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from common.flops import PEAKS, training_flops
from common.models.config import ModelConfig
from common.models.packing import Packing
from common.models.transformer import MaskedDiffusionModel

#: Utilizations that a table shows the speed at; 0.4 is what well-tuned runs of dense models reach.
UTILIZATIONS = (0.3, 0.4, 0.5)
_LEGEND = (
    "In GFLOP a token: the products of forward and backward pass over one sequence that is one document, half "
    "of it masked. counted: by PyTorch. formula: common/flops.py, which metrics and reports go by. tokens/s: "
    "of one GPU in bf16 that reaches so much of its peak, which is an assumption, not a measurement."
)


@dataclass(frozen=True)
class Count:
    """GFLOP of training on a token of a sequence of ``context``, as PyTorch counts them and by our formula."""

    context: int
    counted: float
    formula: float


def count(config: ModelConfig, context: int) -> Count:
    """Count the operations of training on one sequence of which every other token is masked."""
    with torch.device("meta"):
        model = MaskedDiffusionModel(config)
        ids, rows = torch.zeros(context, dtype=torch.long), torch.arange(0, context, 2)
    packing = Packing.of([context], torch.device("meta"))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        logits = model.apply_head(model.hidden(ids, packing, rows), lambda hidden, weight: hidden @ weight.T)
        torch.autograd.backward(logits.sum())
    formula = training_flops(config, [context], len(rows))
    return Count(context, counter.get_total_flops() / context / 1e9, formula / context / 1e9)


def view(name: str, counts: Sequence[Count], gpu: str) -> Group:
    """Show the counts, and the tokens per second of one GPU that they come to."""
    table = Table()
    table.add_column("context", justify="right")
    for title in ("counted", "formula", *(f"tokens/s at {share:.0%}" for share in UTILIZATIONS)):
        table.add_column(title, justify="right")
    peak = PEAKS[gpu].bfloat16 * 1e3
    for each in counts:
        speeds = [f"{share * peak / each.counted:,.0f}" for share in UTILIZATIONS]
        table.add_row(f"{each.context:,}", f"{each.counted:.2f}", f"{each.formula:.2f}", *speeds)
    title = f"{name} on {gpu}, {PEAKS[gpu].bfloat16:g} TFLOP/s"
    return Group(Text(title), table, Text(_LEGEND, style="dim"))
