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
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from common.config import PromptSettings
from common.models.config import ModelConfig, ModelError
from common.models.families import FAMILIES, Family
from common.models.loading import load_model, load_tokenizer, save_model
from common.models.packing import Packing
from common.models.prompts import PromptEncoder
from common.models.transformer import MaskedDiffusionModel
from tests.outside_data import outside_data

MakeModel = Callable[..., MaskedDiffusionModel]
Change = dict[str, Any]

LAYERS = 2
SHAPE: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-3,
    "rope_theta": 777.0,
    "tie_word_embeddings": False,
}
IDS: dict[str, Any] = {"mask_token_id": 30, "eos_token_id": 3, "pad_token_id": 3}
DREAM: dict[str, Any] = {
    "architectures": ["DreamModel"],
    "model_type": "Dream",
    "auto_map": {"AutoModel": "modeling_dream.DreamModel"},
    "attention_dropout": 0.0,
    "bos_token_id": 3,
    "hidden_act": "silu",
    "max_window_layers": 28,
    "rope_scaling": None,
    "sliding_window": None,
    "use_mrope": False,
    "use_sliding_window": False,
    **SHAPE,
    **IDS,
}
LLADA: dict[str, Any] = {
    "architectures": ["LLaDAModelLM"],
    "model_type": "llada",
    "auto_map": {"AutoModel": "modeling_llada.LLaDAModelLM"},
    "activation_type": "silu",
    "alibi": False,
    "alibi_bias_max": 8.0,
    "attention_dropout": 0.0,
    "attention_layer_norm": False,
    "bias_for_layer_norm": False,
    "block_group_size": 1,
    "block_type": "llama",
    "d_model": 32,
    "embedding_dropout": 0.0,
    "embedding_size": 40,
    "include_bias": False,
    "include_qkv_bias": False,
    "input_emb_norm": False,
    "layer_norm_type": "rms",
    "layer_norm_with_affine": True,
    "max_sequence_length": 64,
    "mlp_hidden_size": 48,
    "mlp_ratio": 4,
    "multi_query_attention": None,
    "n_heads": 4,
    "n_kv_heads": 2,
    "n_layers": LAYERS,
    "residual_dropout": 0.0,
    "rms_norm_eps": 1e-3,
    "rope": True,
    "rope_full_precision": True,
    "rope_theta": 777.0,
    "scale_logits": False,
    "vocab_size": 38,
    "weight_tying": False,
    **IDS,
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more would only wait for each other
    yield
    torch.set_num_threads(threads)


def stock_model(kind: type[PreTrainedModel], config: Any) -> PreTrainedModel:
    """A random transformers model whose logits are far from uniform and whose norms and biases say something."""
    generator = torch.Generator().manual_seed(0)
    config._attn_implementation = "sdpa"
    model = kind(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator) * 0.2
            parameter.copy_(1.0 + noise if name.endswith("norm.weight") else noise)
    return model.eval()


def stock_qwen2(**changes: Any) -> PreTrainedModel:
    shape = SHAPE | changes
    rope = {"rope_type": "default", "rope_theta": shape.pop("rope_theta")}
    return stock_model(Qwen2ForCausalLM, Qwen2Config(**shape, rope_parameters=rope))


def stock_llama(**changes: Any) -> PreTrainedModel:
    shape = SHAPE | changes
    rope = {"rope_type": "default", "rope_theta": shape.pop("rope_theta")}
    return stock_model(LlamaForCausalLM, LlamaConfig(**shape, rope_parameters=rope))


def llada_weights(llama: PreTrainedModel) -> dict[str, Tensor]:
    """The weights of a Llama model under LLaDA's names."""
    theirs = llama.state_dict()
    weights = {
        "model.transformer.wte.weight": theirs["model.embed_tokens.weight"],
        "model.transformer.ln_f.weight": theirs["model.norm.weight"],
        "model.transformer.ff_out.weight": theirs["lm_head.weight"],
    }
    for layer in range(LAYERS):
        source, target = f"model.layers.{layer}", f"model.transformer.blocks.{layer}"
        weights |= {
            f"{target}.attn_norm.weight": theirs[f"{source}.input_layernorm.weight"],
            f"{target}.q_proj.weight": theirs[f"{source}.self_attn.q_proj.weight"],
            f"{target}.k_proj.weight": theirs[f"{source}.self_attn.k_proj.weight"],
            f"{target}.v_proj.weight": theirs[f"{source}.self_attn.v_proj.weight"],
            f"{target}.attn_out.weight": theirs[f"{source}.self_attn.o_proj.weight"],
            f"{target}.ff_norm.weight": theirs[f"{source}.post_attention_layernorm.weight"],
            # LLaDA's activation goes over ff_proj.
            f"{target}.ff_proj.weight": theirs[f"{source}.mlp.gate_proj.weight"],
            f"{target}.up_proj.weight": theirs[f"{source}.mlp.up_proj.weight"],
            f"{target}.ff_out.weight": theirs[f"{source}.mlp.down_proj.weight"],
        }
    return weights


def publish(folder: Path, config: Change, weights: dict[str, Tensor], shards: int = 1) -> Path:
    """A folder as on the Hub: config.json and one file, or shards with an index."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    if shards == 1:
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / "model.safetensors")
        return folder
    files = {}
    for i, name in enumerate(sorted(weights)):
        files[name] = f"model-{i % shards + 1:05}-of-{shards:05}.safetensors"
    for file in set(files.values()):
        save_file({name: weights[name].contiguous() for name in files if files[name] == file}, folder / file)
    index = {"metadata": {"total_size": 0}, "weight_map": files}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


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
        ({"mask_token_id": None}, "mask_token_id: missing, and no tokenizer declares one; add its id"),
        ({"eos_token_id": None}, "eos_token_id: missing"),
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


SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|beginoftext|>", "<|mask|>"]
TEXT = "def f(x):\n    return x + 1\n"
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>"


def dream_folder(folder: Path, learned_pad: bool = False, **changes: Any) -> tuple[Path, int]:
    """A Dream folder without tokenizer.json, and the size of its vocabulary before the added tokens.

    The code that it names for its tokenizer fails when it is run, and the learned pad is not marked as special.
    """
    folder.mkdir()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=270, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([TEXT * 4], trainer)
    tokenizer.model.save(str(folder))
    base = tokenizer.get_vocab_size()
    added = [*SPECIAL, *(["<|dlm_pad|>"] if learned_pad else [])]
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    decoder = {
        str(base + i): {"content": token, "special": token in SPECIAL, **flags} for i, token in enumerate(added)
    }
    settings = {
        "tokenizer_class": "DreamTokenizer",
        "auto_map": {"AutoTokenizer": ["tokenization_dream.DreamTokenizer", None]},
        "added_tokens_decoder": decoder,
        "additional_special_tokens": ["<|beginoftext|>", "<|mask|>"],
        "bos_token": "<|beginoftext|>",
        "eos_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
        "mask_token": "<|mask|>",
        "unk_token": None,
        "chat_template": TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "added_tokens.json").write_text(json.dumps({token: base + i for i, token in enumerate(added)}))
    (folder / "tokenization_dream.py").write_text("raise SystemExit('code of the folder was run')\n")
    ids = {"mask_token_id": base + 4, "eos_token_id": base, "pad_token_id": base}
    (folder / "config.json").write_text(json.dumps(DREAM | {"vocab_size": 300} | ids | changes))
    return folder, base


def test_tokenizer_from_vocabulary_and_merges(tmp_path: Path) -> None:
    folder, base = dream_folder(tmp_path / "m")
    tokenizer = load_tokenizer(str(folder))
    assert [tokenizer.get_vocab()[token] for token in SPECIAL] == [base + i for i in range(5)]
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (base, base)
    assert (tokenizer.bos_token_id, tokenizer.mask_token_id) == (base + 3, base + 4)
    text = TEXT + "é 123 𝄞"
    ids = tokenizer(text)["input_ids"]
    assert len(ids) < len(text.encode())
    assert tokenizer.decode(ids) == text
    assert tokenizer("<|im_end|>a<|mask|>")["input_ids"][::2] == [base + 2, base + 4]
    encoder = PromptEncoder(str(folder), PromptSettings(chat_template=True))
    turn = tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], return_dict=False)
    assert turn[0] == base + 1
    assert turn.count(base + 2) == 1
    assert encoder.decode([*ids, base + 2, base, base + 4]) == text


def test_published_config_takes_its_ids_from_the_tokenizer(tmp_path: Path) -> None:
    folder, base = dream_folder(tmp_path / "m")
    config = ModelConfig.from_folder(folder)
    assert (config.token_count, config.end_of_turn_token_id, config.pad_token_id) == (base + 5, base + 2, base)
    assert config.end_token_ids == (base, base + 2)
    assert config.forbidden_token_ids == (base + 4, *range(base + 5, 300))
    folder, _ = dream_folder(tmp_path / "open", mask_token_id=None, eos_token_id=None, pad_token_id=None)
    assert ModelConfig.from_folder(folder) == config


def test_learned_pad_token_is_the_pad_and_ends_the_text(tmp_path: Path) -> None:
    folder, base = dream_folder(tmp_path / "m", learned_pad=True)
    config = ModelConfig.from_folder(folder)
    assert (config.token_count, config.pad_token_id, config.eos_token_id) == (base + 6, base + 5, base)
    assert config.end_token_ids == (base, base + 2, base + 5)
    assert load_tokenizer(str(folder)).pad_token_id == base + 5
    encoder = PromptEncoder(str(folder), PromptSettings())
    ids = load_tokenizer(str(folder))(TEXT)["input_ids"]
    assert encoder.decode([*ids, base + 5, base + 5]) == TEXT
    # What is saved says so itself, and its tokenizer agrees.
    save_model(config, MaskedDiffusionModel(config).named_parameters(), tmp_path / "saved", folder)
    assert load_model(str(tmp_path / "saved")).config == config
    assert load_tokenizer(str(tmp_path / "saved")).pad_token_id == base + 5


@pytest.mark.parametrize("name", ["mask_token_id", "eos_token_id", "pad_token_id"])
def test_special_id_that_the_tokenizer_contradicts(tmp_path: Path, name: str) -> None:
    folder, base = dream_folder(tmp_path / "m", **{name: 299})
    right = base + 4 if name == "mask_token_id" else base
    for read in (load_model, load_tokenizer):
        with pytest.raises(
            ModelError, match=f"{name} is 299 in config.json and {right} in the tokenizer; correct"
        ):
            read(str(folder))


def test_saved_end_of_turn_and_count_that_the_tokenizer_contradicts(tmp_path: Path) -> None:
    folder, base = dream_folder(tmp_path / "m")
    raw = json.loads((folder / "config.json").read_text()) | {"model_type": "qwen2"}
    for section, right in (({"end_of_turn_token_id": 7}, base + 2), ({"token_count": 299}, base + 5)):
        ((name, value),) = section.items()
        (folder / "config.json").write_text(json.dumps(raw | {"masked_diffusion": {"family": "dream"} | section}))
        with pytest.raises(ModelError, match=f"{name} is {value} in config.json and {right} in the tokenizer"):
            load_tokenizer(str(folder))


def test_no_mask_token_in_config_or_tokenizer(tmp_path: Path) -> None:
    folder, _ = dream_folder(tmp_path / "m", mask_token_id=None)
    text = (folder / "tokenizer_config.json").read_text().replace("<|mask|>", "<|other|>")
    raw = json.loads(text) | {"mask_token": None}
    (folder / "tokenizer_config.json").write_text(json.dumps(raw))
    with pytest.raises(ModelError, match="mask_token_id: missing, and no tokenizer declares one; add its id"):
        ModelConfig.from_folder(folder)


def test_cut_vocabulary_would_give_the_added_tokens_other_ids(tmp_path: Path) -> None:
    folder, base = dream_folder(tmp_path / "m")
    raw = json.loads((folder / "tokenizer_config.json").read_text())
    for token in range(base, base + 5):
        raw["added_tokens_decoder"][str(token + 2)] = raw["added_tokens_decoder"].pop(str(token))
    (folder / "tokenizer_config.json").write_text(json.dumps(raw))
    with pytest.raises(ModelError, match=r"tokenizer_config\.json: added_tokens_decoder says .* fetch"):
        load_tokenizer(str(folder))


def test_damaged_tokenizer_settings(tmp_path: Path) -> None:
    folder, _ = dream_folder(tmp_path / "m")
    (folder / "tokenizer_config.json").write_text("{")
    with pytest.raises(ModelError, match="the tokenizer cannot be read"):
        ModelConfig.from_folder(folder)


def test_llama_tokenizer_is_not_read_with_the_rules_of_qwen2(tmp_path: Path) -> None:
    folder, _ = dream_folder(tmp_path / "m", model_type="llama")
    with pytest.raises(ModelError, match=r"family 'llama' needs tokenizer\.json"):
        ModelConfig.from_folder(folder)


def test_llada_tokenizer_that_declares_no_mask_token(tmp_path: Path) -> None:
    words = {word: i for i, word in enumerate(["a", "b", "c", "<|endoftext|>"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="a"))
    tokenizer.add_special_tokens(["<|mdm_mask|>", "<|eot_id|>"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings | {"pad_token": "<|endoftext|>"}))
    publish(tmp_path, LLADA | {"mask_token_id": 4}, llada_weights(stock_llama()))
    config = load_model(str(tmp_path)).config
    assert (config.mask_token_id, config.eos_token_id, config.end_token_ids) == (4, 3, (3, 5))
    assert config.forbidden_token_ids == (4, *range(6, 40))
    for changes, message in (
        ({"mask_token_id": 2}, r"mask_token_id is 2 in config\.json and 4 in the tokenizer"),
        (
            {"mask_token_id": 4, "embedding_size": 5},
            r"vocab_size is 5 in config\.json and the tokenizer has 6 tokens",
        ),
    ):
        publish(tmp_path, LLADA | changes, {})
        with pytest.raises(ModelError, match=message):
            ModelConfig.from_folder(tmp_path)


def test_ids_of_a_dream_folder_with_the_real_tokenizer(tmp_path: Path) -> None:
    tokenizer_folder = outside_data("data/tokenizers/qwen2.5")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).symlink_to(tokenizer_folder / name)
    small = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    ids = {"mask_token_id": 151666, "eos_token_id": 151643, "pad_token_id": 151643}
    config_json = DREAM | small | heads | ids | {"vocab_size": 152064}
    (tmp_path / "config.json").write_text(json.dumps(config_json))
    config = ModelConfig.from_folder(tmp_path)
    assert (config.token_count, config.end_of_turn_token_id) == (151667, 151645)
    assert config.end_token_ids == (151643, 151645)
    assert config.forbidden_token_ids == (151666, *range(151667, 152064))
    logits = MaskedDiffusionModel(config).logits(torch.randn(2, 8))
    assert int(logits.isneginf().sum()) == 2 * (1 + 152064 - 151667)
    tokenizer = load_tokenizer(str(tmp_path))
    assert tokenizer.mask_token_id == 151666
    assert tokenizer("<|im_end|>")["input_ids"] == [151645]
