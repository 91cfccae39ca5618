"""Folders as they are published, against transformers' own models of the same architecture."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    PreTrainedModel,
)

from common.models.config import ModelError
from common.models.families import FAMILIES, Family
from common.models.loading import load_model, save_model
from common.models.packing import Packing
from common.models.transformer import MaskedDiffusionModel
from tests.common.family_folders import (
    DREAM,
    IDS,
    LLADA,
    SHAPE,
    Change,
    llada_weights,
    publish,
    stock_llama,
    stock_qwen2,
)

MakeModel = Callable[..., MaskedDiffusionModel]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more would only wait for each other
    yield
    torch.set_num_threads(threads)


def assert_same_logits(ours: MaskedDiffusionModel, theirs: PreTrainedModel, tokens: int) -> None:
    """Over the tokens that may be predicted, for sequences of several lengths in one batch."""
    draw = random.Random(0)
    sequences = [[draw.randrange(tokens) for _ in range(length)] for length in (7, 11, 7, 1)]
    packing = Packing.of([len(ids) for ids in sequences])
    logits = ours.logits(ours.hidden(packing.pack(sequences), packing))
    real = [token for token in range(tokens) if token not in ours.config.forbidden_token_ids]
    for start, ids in zip(packing.starts, sequences, strict=True):
        full = torch.zeros(1, 1, len(ids), len(ids))
        with torch.no_grad():
            expected = theirs(torch.tensor([ids]), attention_mask=full, use_cache=False).logits[0]
        actual = logits[start : start + len(ids)]
        torch.testing.assert_close(actual[:, real], expected[:, real], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_published_dream_equals_qwen2_without_the_causal_mask(tmp_path: Path, shards: int, kv_heads: int) -> None:
    theirs = stock_qwen2(num_key_value_heads=kv_heads)
    config = DREAM | {"num_key_value_heads": kv_heads}
    ours = load_model(str(publish(tmp_path / "m", config, theirs.state_dict(), shards)))
    assert (ours.config.family, ours.config.shift) == ("dream", True)
    assert_same_logits(ours, theirs, 40)


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("kv_heads", [None, 2])
def test_published_llada_equals_llama_without_the_causal_mask(
    tmp_path: Path, shards: int, kv_heads: int | None
) -> None:
    theirs = stock_llama(num_key_value_heads=kv_heads or 4)
    config = LLADA | {"n_kv_heads": kv_heads}
    ours = load_model(str(publish(tmp_path / "m", config, llada_weights(theirs), shards)))
    assert (ours.config.family, ours.config.shift) == ("llada", False)
    assert ours.config.forbidden_token_ids == (30, 38, 39)  # embedding_size 40, vocab_size 38
    assert_same_logits(ours, theirs, 38)


def test_llada_whose_output_layer_is_its_embedding(tmp_path: Path) -> None:
    theirs = stock_llama(tie_word_embeddings=True)
    weights = llada_weights(theirs)
    del weights["model.transformer.ff_out.weight"]
    ours = load_model(str(publish(tmp_path / "m", LLADA | {"weight_tying": True}, weights)))
    assert ours.lm_head.weight is ours.model.embed_tokens.weight
    assert_same_logits(ours, theirs, 38)


@pytest.mark.parametrize(("model_type", "stock"), [("qwen2", stock_qwen2), ("llama", stock_llama)])
def test_stock_model_with_a_mask_token_loads(
    tmp_path: Path, model_type: str, stock: Callable[[], PreTrainedModel]
) -> None:
    """As transformers 5 writes its config.json: the rotary base in a section of its own."""
    theirs = stock()
    config = json.loads(theirs.config.to_json_string(use_diff=False)) | IDS
    assert "rope_theta" not in config
    ours = load_model(str(publish(tmp_path / "m", config, theirs.state_dict())))
    assert (ours.config.family, ours.config.shift, ours.config.rope_theta) == (model_type, True, 777.0)
    assert_same_logits(ours, theirs, 40)


def test_bfloat16_weights_load_as_float32(tmp_path: Path) -> None:
    theirs = stock_qwen2().bfloat16()
    ours = load_model(str(publish(tmp_path / "m", DREAM, theirs.state_dict(), shards=2)))
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(ours.get_parameter(name), tensor.float())


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_saved_for_us_and_for_transformers(
    make_model: MakeModel, tmp_path: Path, family: str, tied: bool
) -> None:
    model = make_model(
        family=family,
        shift=FAMILIES[family].shift,
        tie_word_embeddings=tied,
        rope_theta=777.0,
        end_of_turn_token_id=5,
        token_count=38,
    )
    target = tmp_path / "model"
    save_model(model.config, model.named_parameters(), target, tmp_path)
    loaded = load_model(str(target))
    assert loaded.config == model.config
    assert [name for name, _ in loaded.named_parameters()] == [name for name, _ in model.named_parameters()]
    for name, parameter in model.named_parameters():
        assert torch.equal(loaded.get_parameter(name), parameter), name
    theirs = AutoModelForCausalLM.from_pretrained(target, attn_implementation="sdpa").eval()
    stock = {"qwen2": "Qwen2ForCausalLM", "llama": "LlamaForCausalLM"}
    assert type(theirs).__name__ == stock[FAMILIES[family].layout]
    assert theirs.state_dict().keys() == model.state_dict().keys()
    assert_same_logits(loaded, theirs, 38)


def tiny_name(name: str) -> str:
    return f"net.{name}"


def tiny_shape(raw: Mapping[str, Any]) -> dict[str, Any]:
    return SHAPE | {"hidden_size": raw["width"]}


#: A plug-in family with keys and names of its own.
TINY = Family("llama", shift=False, end_of_turn="<|end|>", mask="<m>", shape=tiny_shape, parameter_name=tiny_name)
PLUGIN: dict[str, Any] = {
    "model_type": "tiny",
    "width": 32,
    "masked_diffusion": {"family": f"{__name__}:TINY", "token_count": 38},
    **IDS,
}


def published_family(family: str) -> tuple[Change, dict[str, Tensor]]:
    """A config.json in the family's own keys, and weights under its own names."""
    if family == "dream":
        return DREAM, stock_qwen2().state_dict()
    if family == "llada":
        return LLADA, llada_weights(stock_llama())
    return PLUGIN, {tiny_name(name): tensor for name, tensor in stock_llama().state_dict().items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ["dream", "llada", "plugin"])
def test_a_published_model_is_saved_in_the_format_of_its_family(
    tmp_path: Path, family: str, dtype: torch.dtype
) -> None:
    config, weights = published_family(family)
    folder = publish(tmp_path / "published", config | {"dtype": "float16"}, weights, shards=2)
    (folder / "modeling.py").write_text("raise SystemExit('code of the folder was run')\n")
    (folder / "generation_config.json").write_text("{}")
    first = load_model(str(folder))
    save_model(first.config, first.named_parameters(), tmp_path / "saved", folder, dtype)
    saved = tmp_path / "saved"
    assert json.loads((saved / "config.json").read_text()) == config | {"dtype": str(dtype).split(".")[1]}
    theirs = load_file(saved / "model.safetensors")
    assert theirs.keys() == weights.keys()
    for name, tensor in theirs.items():
        assert torch.equal(tensor, weights[name].to(dtype)), name
    assert {path.name for path in saved.iterdir()} == {
        "config.json",
        "model.safetensors",
        "modeling.py",
        "generation_config.json",
    }
    again = load_model(str(saved))
    assert again.config == first.config
    for name, parameter in first.named_parameters():
        assert torch.equal(again.get_parameter(name), parameter.to(dtype).float()), name
    # Once more from what was saved: nothing wears off.
    save_model(again.config, again.named_parameters(), tmp_path / "twice", saved, dtype)
    for file in ("config.json", "model.safetensors"):
        assert (tmp_path / "twice" / file).read_bytes() == (saved / file).read_bytes()


def test_a_stock_model_is_saved_as_one_with_our_section(tmp_path: Path) -> None:
    theirs = stock_llama()
    config = json.loads(theirs.config.to_json_string(use_diff=False)) | IDS
    folder = publish(tmp_path / "published", config, theirs.state_dict())
    model = load_model(str(folder))
    save_model(model.config, model.named_parameters(), tmp_path / "saved", folder)
    raw = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert (raw["model_type"], raw["masked_diffusion"]["family"]) == ("llama", "llama")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "saved", attn_implementation="sdpa").eval()
    assert_same_logits(load_model(str(tmp_path / "saved")), again, 40)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_act": "gelu"}, "hidden_act: 'gelu' is not implemented, only 'silu'"),
        ({"use_sliding_window": True}, "use_sliding_window: True"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "layer_types: 'sliding_attention'"),
        ({"use_mrope": True}, "use_mrope: True"),
        ({"attention_dropout": 0.1}, "attention_dropout: 0.1"),
        ({"attention_bias": False}, "attention_bias: False"),
        ({"mlp_bias": True}, "mlp_bias: True"),
        ({"head_dim": 16}, "head_dim 16"),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0}}, "rope_scaling: 'yarn'"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 4.0}}, "rope_scaling: 'linear'"),
        ({"rope_scaling": 4.0}, "rope_scaling: must be a section"),
        ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4}}, "rope_parameters: 'llama3'"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "rope_parameters: .*partial_rotary_factor"),
        ({"rope_theta": None}, "rope_theta: missing"),
        ({"num_attention_heads": 5}, "num_attention_heads must divide"),
        ({"num_attention_heads": 32, "num_key_value_heads": 32}, "must be even"),
        ({"hidden_size": None}, "hidden_size: "),
        ({"vocab_size": "many"}, "vocab_size: "),
        ({"mask_token_id": None}, "leaves mask_token_id to the tokenizer, and the folder has none; add its files"),
        (
            {"mask_token_id": None, "eos_token_id": None},
            "leaves mask_token_id and eos_token_id to the tokenizer, and the folder has none",
        ),
        ({"mask_token_id": 40}, "mask_token_id 40 must lie in the vocabulary of 40 tokens"),
        ({"model_type": "mistral"}, "model_type 'mistral' is not one of Dream, dream, llada, llama, qwen2"),
        ({"model_type": None}, "model_type None is not one of"),
        ({"model_type": "qwen2", "mask_token_id": None}, "mask_token_id: missing.*'masked_diffusion'.*adapt it"),
        ({"model_type": "llama", "mask_token_id": None}, "mask_token_id: missing.*'masked_diffusion'.*adapt it"),
        ({"model_type": "llama", "attention_bias": True}, "attention_bias: True"),
    ],
)
def test_config_that_is_not_implemented_names_its_key(tmp_path: Path, changes: Change, message: str) -> None:
    publish(tmp_path, DREAM | changes, {})
    with pytest.raises(ModelError, match=rf"config\.json: .*{message}"):
        load_model(str(tmp_path))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("block_type", "sequential"),
        ("block_group_size", 2),
        ("activation_type", "swiglu"),
        ("layer_norm_type", "gemma_rms"),
        ("layer_norm_with_affine", False),
        ("bias_for_layer_norm", True),
        ("attention_layer_norm", True),
        ("input_emb_norm", True),
        ("include_bias", True),
        ("include_qkv_bias", True),
        ("multi_query_attention", True),
        ("rope", False),
        ("rope_full_precision", False),
        ("alibi", True),
        ("scale_logits", True),
        ("attention_dropout", 0.1),
        ("residual_dropout", 0.1),
        ("embedding_dropout", 0.1),
    ],
)
def test_llada_that_is_not_implemented_names_its_key(tmp_path: Path, key: str, value: object) -> None:
    publish(tmp_path, LLADA | {key: value}, {})
    with pytest.raises(ModelError, match=rf"config\.json: {key}: {value!r} is not implemented, only "):
        load_model(str(tmp_path))


@pytest.mark.parametrize("key", ["d_model", "n_layers", "rope_theta", "weight_tying", "block_type", "rope"])
def test_llada_key_whose_absence_would_mean_another_model(tmp_path: Path, key: str) -> None:
    publish(tmp_path, {name: value for name, value in LLADA.items() if name != key}, {})
    with pytest.raises(ModelError, match=rf"config\.json: {key}: "):
        load_model(str(tmp_path))


def test_weights_that_do_not_fit_are_listed_under_the_names_of_the_checkpoint(tmp_path: Path) -> None:
    weights = llada_weights(stock_llama())
    del weights["model.transformer.blocks.1.attn_out.weight"]
    weights["model.transformer.extra"] = torch.zeros(1)
    weights["model.transformer.ln_f.weight"] = torch.zeros(31)
    with pytest.raises(ModelError) as caught:
        load_model(str(publish(tmp_path, LLADA, weights, shards=2)))
    for part in (
        "1 missing: model.transformer.blocks.1.attn_out.weight",
        "1 unexpected: model.transformer.extra",
        "1 of another shape: model.transformer.ln_f.weight (31,) instead of (32,)",
    ):
        assert part in str(caught.value)


def test_only_the_first_few_weights_are_listed(tmp_path: Path) -> None:
    weights = {name: tensor for name, tensor in stock_qwen2().state_dict().items() if "layers.0" not in name}
    with pytest.raises(ModelError, match=r"12 missing: (model\.layers\.0\S+, ){3}\.\.\.;"):
        load_model(str(publish(tmp_path, DREAM, weights)))


def test_biases_that_a_llama_has_no_place_for(tmp_path: Path) -> None:
    config = DREAM | {"model_type": "llama"}
    with pytest.raises(ModelError, match=r"6 unexpected: model\.layers\.0\.self_attn\.k_proj\.bias"):
        load_model(str(publish(tmp_path, config, stock_qwen2().state_dict())))


def test_missing_shard_is_named(tmp_path: Path) -> None:
    publish(tmp_path, DREAM, stock_qwen2().state_dict(), shards=3)
    (tmp_path / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(ModelError, match=r"index\.json: names \['model-00002-of-00003\.safetensors'\], which"):
        load_model(str(tmp_path))


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"weight_map": 1}'])
def test_damaged_index(tmp_path: Path, text: str) -> None:
    publish(tmp_path, DREAM, stock_qwen2().state_dict(), shards=3)
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(ModelError, match=r"index\.json: is not an index of weights"):
        load_model(str(tmp_path))


def test_index_decides_which_files_are_read(tmp_path: Path) -> None:
    theirs = stock_qwen2()
    publish(tmp_path, DREAM, theirs.state_dict(), shards=2)
    save_file({"adapter": torch.zeros(1)}, tmp_path / "adapter.safetensors")
    assert_same_logits(load_model(str(tmp_path)), theirs, 40)
