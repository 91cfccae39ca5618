"""Whole weights out of DeepSpeed, a bucket at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import deepspeed
from torch import Tensor, nn


def full_parameters(
    named_parameters: Iterable[tuple[str, nn.Parameter]], zero_stage: int, bucket_bytes: int
) -> Iterator[tuple[str, Tensor]]:
    """Names and whole parameters, in their order and type; each tensor is valid until the next is asked for.

    Under ZeRO stage 3 this is a collective call: every rank must run it to its end. It then gathers about
    ``bucket_bytes`` at a time (a larger parameter alone), so a rank never holds all weights.
    """
    if zero_stage < 3:
        for name, parameter in named_parameters:
            yield name, parameter.detach()
        return
    for bucket in _buckets(named_parameters, bucket_bytes):
        with deepspeed.zero.GatheredParameters([parameter for _, parameter in bucket]):
            for name, parameter in bucket:
                yield name, parameter.detach()


def _buckets(named_parameters: Iterable[tuple[str, Any]], bucket_bytes: int) -> Iterator[list[tuple[str, Any]]]:
    bucket: list[tuple[str, Any]] = []
    filled = 0
    for name, parameter in named_parameters:
        size = parameter.ds_numel * parameter.element_size()  # numel() is of what this rank holds by itself
        if bucket and filled + size > bucket_bytes:
            yield bucket
            bucket, filled = [], 0
        bucket.append((name, parameter))
        filled += size
    if bucket:
        yield bucket
