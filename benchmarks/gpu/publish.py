"""New weights from one model on a device to another, through the memory that processes of a machine share."""

from __future__ import annotations

import os
import statistics
from functools import partial

import torch

from benchmarks.measure import seconds
from common.config import Config
from common.models.transformer import MaskedDiffusionModel
from common.weights.buckets import fill_buckets, overwrite, plan_layout, read_buckets
from common.weights.layout import Manifest
from common.weights.messages import SharedBuckets
from common.weights.segments import Segments
from common.weights.shared_reader import SharedReader

_GIB = 2**30
_DEADLINE = 120.0
_BUCKET_BYTES = Config.model_fields["learner"].default.bucket_mb << 20


class PublishError(RuntimeError):
    """Weights did not arrive as they were sent."""


@torch.no_grad()
def measure(device: torch.device, model: MaskedDiffusionModel, repeats: int) -> dict[str, float]:
    """Publish a model's weights in its own type, and load them into another one of its shape.

    Sender and receiver are this process, one after the other: the parts of an update that overlap elsewhere.
    Raises :class:`PublishError` where they do not arrive bit for bit.
    """
    sent = dict(model.named_parameters())
    held = {name: torch.zeros_like(parameter) for name, parameter in sent.items()}
    types = {name: parameter.dtype for name, parameter in sent.items()}
    layout = plan_layout(sent.items(), types, _BUCKET_BYTES)
    segments, reader = Segments(), SharedReader()
    filling, loading = [], []
    for version in range(1 + repeats):
        manifest = Manifest(version, layout)
        segment = segments.begin(layout, keep=())
        where = SharedBuckets("here", os.getpid(), segment.descriptor, segment.key, segment.serial)
        memory_of = partial(segment.bucket, layout)

        def fill() -> None:
            for number, _ in enumerate(fill_buckets(manifest, sent.items(), memory_of)):  # noqa: B023
                segment.ready(number + 1)  # noqa: B023

        def load() -> None:
            with reader.reading(where, manifest, _DEADLINE) as opened:  # noqa: B023
                overwrite(held.items(), read_buckets(manifest, opened.buckets()))  # noqa: B023

        filling.append(seconds(fill, device))
        loading.append(seconds(load, device))
    reader.close()
    if not all(torch.equal(held[name], parameter) for name, parameter in sent.items()):
        raise PublishError("the weights that were loaded are not those that were published")
    return {
        "publish: GiB": sum(layout.sizes) / _GIB,
        "publish: first, into fresh memory, s": filling[0],
        "publish: from the device into shared memory, s": statistics.median(filling[1:]),
        "publish: from there into another model, s": statistics.median(loading[1:]),
    }
