"""Seconds of phases add up by name."""

from __future__ import annotations

import time

import pytest
import torch

from learner.collectives import MetricAccumulator

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


@pytest.mark.parametrize("device", DEVICES)
def test_the_seconds_of_a_phase_add_up_and_can_be_asked_for_again(device: str) -> None:
    sums = MetricAccumulator([], torch.device(device))
    began = time.perf_counter()
    for name in ("one", "two", "one"):
        with sums.phase(name):
            time.sleep(0.002)
    first = sums.seconds
    assert first.keys() == {"one", "two"}
    assert 0.0 < first["two"] < first["one"] + first["two"] <= time.perf_counter() - began
    with sums.phase("two"):
        pass
    assert sums.seconds["one"] == first["one"]
    assert sums.seconds["two"] > first["two"]
