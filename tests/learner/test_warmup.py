from __future__ import annotations

import torch

from common.models.folder import load_tokenizer
from common.models.loading import load_model
from learner.warm_start.synthetic import generate
from learner.warm_start.warm_up import WarmUp, warm_up


def test_warm_up_lowers_the_loss_and_writes_a_model_folder_that_loads(tmp_path):
    settings = WarmUp(steps=12, batch=8, hidden_size=32, intermediate_size=48, layers=1, heads=2)
    tasks = generate(seed=0, train=40, held_out=0).train
    losses: list[float] = []
    torch.manual_seed(1)  # the global generator must not matter
    warm_up(tasks, tmp_path / "a", settings, lambda step, loss: losses.append(loss))
    torch.manual_seed(2)
    warm_up(tasks, tmp_path / "b", settings)

    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])
    assert load_tokenizer(str(tmp_path / "a")).mask_token_id == 1
    first, second = (load_model(str(tmp_path / name)).state_dict() for name in "ab")
    assert all(torch.equal(first[name], second[name]) for name in first)
