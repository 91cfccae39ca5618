"""The way that weights take to the rollout workers changes nothing about a run."""

from __future__ import annotations

import torch
from safetensors.torch import load_file


def test_broadcast_weights_train_as_those_from_the_object_store_do(start_run, tmp_path):
    weights = {}
    for transport in ("object_store", "collective"):
        folder = tmp_path / transport
        run = start_run(
            "run.steps=3",
            f"run.folder={folder}",
            "rollout.workers=2",
            f"learner.weights_transport={transport}",
            "learner.bucket_mb=1",
        )
        assert run.finish()["updates"] == 3
        assert "broadcast failed" not in run.output
        run.assert_nothing_left()
        weights[transport] = load_file(folder / "model" / "model.safetensors")
    assert weights["object_store"].keys() == weights["collective"].keys()
    for name, tensor in weights["object_store"].items():
        torch.testing.assert_close(weights["collective"][name], tensor, rtol=0, atol=1e-6)
