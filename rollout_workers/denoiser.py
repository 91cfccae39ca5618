"""What a denoising engine needs of a model, and the backend on plain torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor

from common.models.canvas_logprobs import TokenModel
from common.models.inference import InferenceModel
from common.models.narrow_passes import NarrowPasses
from common.models.packing import Packing, Queries
from common.models.storages import FreedStorages
from common.models.transformer import MaskedDiffusionModel, Rows
from common.models.window import Memory, Window
from common.weights.buckets import Parameters, overwrite
from common.weights.comparison import corrupt, differing
from common.weights.layout import Layout
from rollout_workers.compilation import warn_uncompiled
from rollout_workers.vocabulary import Vocabulary


class Denoiser(TokenModel, Protocol):
    """A model behind the denoising engine; knows nothing about diffusion.

    Under tensor parallelism it is one rank of it. All ranks make the same calls in the same order, and all get the
    same hidden states, and the same whole logits, which each of them gathers.
    """

    @property
    def vocabulary(self) -> Vocabulary:
        """The tokens whose logits this process computes."""

    def hidden(self, ids: Tensor, packing: Packing, queries: Queries | None = None) -> Tensor:
        """Compute hidden states [N, H] of a packed batch of token ids [N]; with ``queries``, of those rows."""

    def local_logits(self, rows: Tensor) -> Tensor:
        """Compute this process's columns [n, size] of the fp32 logits of hidden rows [n, H].

        -inf at tokens that are never predicted, and at padding. They are valid until the next call.
        """

    def refresh(self, ids: Tensor, packing: Packing, window: Window, memory: Memory) -> Tensor:
        """Compute hidden states [A, H] of a window's rows, which see the rest of their sequences as remembered."""


class TorchDenoiser:
    """The learner's own model code, without gradients, computing in ``dtype``."""

    def __init__(self, model: MaskedDiffusionModel, dtype: torch.dtype = torch.float32) -> None:
        self._model = model.eval().requires_grad_(False)
        self._dtype = dtype
        self.config = model.config
        self.device = next(model.parameters()).device
        self.vocabulary = Vocabulary.whole(model.config.vocab_size)
        self._hold()
        self._layers = InferenceModel(model)
        self._parameters = Parameters(dict(model.named_parameters()))
        self._freed: FreedStorages | None = None

    def compile(self) -> None:
        """Have what layers compute between products in bf16 compiled; in other types nothing is.

        A GPU makes one kernel of each pass; a CPU is no faster for it. Where the compiler fails a warning says so,
        and the passes stay as they were.
        """
        if self._dtype is not torch.bfloat16:
            return
        # Takes seconds to import.
        from torch._dynamo.exc import TorchDynamoException

        self._layers.passes = NarrowPasses.compiled()
        try:
            # One row is special, and two other sizes make the number of rows a variable of the compiled code.
            for length in (3, 5, 1):
                packing = Packing.of([length], self.device)
                ids = torch.full((length,), self.config.mask_token_id, device=self.device)
                self.hidden(ids, packing)
                self.hidden(ids, packing, Queries(torch.zeros(1, dtype=torch.long, device=self.device), (1,)))
        except TorchDynamoException as error:
            self._layers.passes = NarrowPasses()
            warn_uncompiled("the passes between products in bf16", error)

    @torch.inference_mode()
    def hidden(self, ids: Tensor, packing: Packing, queries: Queries | None = None) -> Tensor:
        with self._precision():
            return self._layers.hidden(ids, packing, queries)

    @torch.inference_mode()
    def refresh(self, ids: Tensor, packing: Packing, window: Window, memory: Memory) -> Tensor:
        with self._precision():
            return self._layers.refresh(ids, packing, window, memory)

    @torch.inference_mode()
    def logits(self, rows: Tensor) -> Tensor:
        with self._precision():
            return self._model.logits(rows)

    @torch.inference_mode()
    def local_logits(self, rows: Tensor) -> Tensor:
        with self._precision():
            return self._layers.logits(rows)

    def source_rows(self, target_rows: Rows) -> Rows:
        return self._model.source_rows(target_rows)

    def adopt(self, layout: Layout, weights: Iterable[tuple[str, Tensor]]) -> bool:
        """Hold all weights where they lie, as :meth:`Parameters.borrow` does; only what is not side by side there
        is copied for products that are made together."""
        if not self._parameters.borrow(layout, weights):
            return False
        self._freed = None
        self._layers.join()
        self._layers.forget()
        return True

    @torch.no_grad()
    def load(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Overwrite all weights in place; each tensor is valid until the next.

        Raises WeightsError for weights of another model, when some may be overwritten already.
        """
        self._take_memory()
        overwrite(self._model.named_parameters(), weights)
        self._hold()

    def corrupt(self) -> None:
        """Overwrite every weight with NaN."""
        self._take_memory()
        corrupt(self._model.parameters())

    def release(self) -> None:
        """Give the memory of the weights back, if it is this model's own, and of what passes keep, until the next
        :meth:`load` or :meth:`adopt`."""
        self._layers.release()
        if self._freed is None and not self._parameters.borrowed:
            self._freed = FreedStorages.free(self._model.parameters())
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def differing(self, weights: Iterable[tuple[str, Tensor]]) -> list[str]:
        """Name the parameters that are not bit for bit those of ``weights``, rounded as they are held."""
        types = self._model.held_types(self._dtype)
        held = ((name, tensor.to(types.get(name, tensor.dtype))) for name, tensor in weights)
        return differing(self._model.named_parameters(), held)

    def _take_memory(self) -> None:
        """Have memory of its own to write other weights into."""
        self._layers.forget()
        if self._parameters.borrowed:
            self._parameters.take_memory()
            self._layers.join()
        if self._freed is not None:
            self._freed.take_again()
            self._freed = None

    def _hold(self) -> None:
        """Round the weights once that every pass would have to round."""
        for _, module in self._model.products():
            module.hold(self._dtype)

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, self._dtype, enabled=self._dtype != torch.float32)
