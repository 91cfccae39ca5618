"""The small causal model of the tiny chain: a stock one, the same every time, that has begun to learn."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from learner.warm_start.causal import CausalModel, make_causal_model, standard_library_modules

_TINY = CausalModel(
    steps=15, batch=4, length=32, vocab_size=320, hidden_size=32, intermediate_size=48, layers=1, heads=2
)


def test_a_causal_model_learns_and_is_transformers_own(tmp_path: Path) -> None:
    texts = ["def double(x):\n    return 2 * x\n" * 20, "import os\n" * 30]
    losses: list[float] = []
    torch.manual_seed(1)  # the global generator must not matter
    make_causal_model(texts, tmp_path / "a", _TINY, lambda step, loss: losses.append(loss))
    torch.manual_seed(2)
    make_causal_model(texts, tmp_path / "b", _TINY)
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])
    first, second = (AutoModelForCausalLM.from_pretrained(tmp_path / name) for name in "ab")
    assert all(torch.equal(p, q) for p, q in zip(first.parameters(), second.parameters(), strict=True))
    ids = torch.randint(3, first.config.vocab_size, (1, 12))
    changed = ids.clone()
    changed[0, -1] = 5
    assert torch.equal(first(ids).logits[:, :-1], first(changed).logits[:, :-1]), "the end is not seen before it"


def test_its_tokenizer_has_a_chat_template_and_no_mask(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make_causal_model(["x = 1\n" * 60], tmp_path / "model", _TINY)
    assert capfd.readouterr() == ("", ""), "no bar of transformers' beside the one of the command"
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
    )
    assert text == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.mask_token is None
    assert tokenizer(text)["input_ids"][0] == tokenizer.convert_tokens_to_ids("<|im_start|>")
    assert tokenizer.decode(tokenizer("é = 1")["input_ids"]) == "é = 1"


def test_too_little_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="give more text"):
        make_causal_model(["x"], tmp_path / "model", _TINY)


def test_the_standard_library_is_code() -> None:
    texts = list(standard_library_modules())
    assert sum(map(len, texts)) > 5e5
    assert all(isinstance(compile(text, "module", "exec", dont_inherit=True), object) for text in texts[:3])
