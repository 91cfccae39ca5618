from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from common.config import PromptSettings
from common.models.config import ModelConfig
from common.models.families import ModelError
from common.models.folder import load_tokenizer, model_folder, tokenizer_hash
from common.models.loading import load_model, save_model
from common.models.prompts import PromptEncoder
from common.models.transformer import MaskedDiffusionModel
from common.records import Task

MakeModel = Callable[..., MaskedDiffusionModel]
BUILTIN = model_folder("builtin:quickstart")


@pytest.fixture
def saved(make_model: MakeModel, tmp_path: Path) -> Path:
    model = make_model(vocab_size=448)  # as many tokens as the tokenizer has
    save_model(model.config, model.named_parameters(), tmp_path / "model", BUILTIN)
    return tmp_path / "model"


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    raw = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in raw.items() if value is not None}))


@pytest.mark.parametrize("tied", [True, False])
def test_saved_model_loads_bit_for_bit(make_model: MakeModel, tmp_path: Path, tied: bool) -> None:
    model = make_model(tie_word_embeddings=tied, shift=False, family="dream", rope_theta=12345.0)
    save_model(model.config, model.named_parameters(), tmp_path / "model", BUILTIN)
    loaded = load_model(str(tmp_path / "model"))
    assert loaded.config == model.config
    assert (loaded.lm_head.weight is loaded.model.embed_tokens.weight) == tied
    theirs = dict(loaded.named_parameters())
    assert theirs.keys() == dict(model.named_parameters()).keys()
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, theirs[name]), name


def test_bfloat16_export_loads_as_float32(make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model()
    save_model(model.config, model.named_parameters(), tmp_path / "model", BUILTIN, torch.bfloat16)
    loaded = load_model(str(tmp_path / "model"))
    for name, parameter in model.named_parameters():
        assert torch.equal(dict(loaded.named_parameters())[name], parameter.bfloat16().float())


def test_transformers_reads_the_saved_folder(saved: Path) -> None:
    theirs = AutoModelForCausalLM.from_pretrained(saved)
    ours = load_model(str(saved)).state_dict()
    assert ours.keys() == theirs.state_dict().keys()
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(tensor, ours[name]), name


def test_saving_again_replaces_the_folder_and_leaves_nothing_else(make_model: MakeModel, saved: Path) -> None:
    model = make_model(seed=1)
    (saved / "stale").write_text("")
    save_model(model.config, model.named_parameters(), saved, BUILTIN)
    assert torch.equal(load_model(str(saved)).model.norm.weight, model.model.norm.weight)
    assert not (saved / "stale").exists()
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_tokenizer_travels_with_the_model(tmp_path: Path) -> None:
    model = load_model("builtin:quickstart")
    target = tmp_path / "copy"
    save_model(model.config, model.named_parameters(), target, BUILTIN)
    assert tokenizer_hash(str(target)) == tokenizer_hash("builtin:quickstart")
    text = "def f(x):\n    return x + 1\n"
    tokenizer = load_tokenizer(str(target))
    assert tokenizer(text)["input_ids"] == load_tokenizer("builtin:quickstart")(text)["input_ids"]
    (target / "chat_template.jinja").write_text("{{ messages }}")
    assert tokenizer_hash(str(target)) != tokenizer_hash("builtin:quickstart")


def test_prompt_encoder_round_trips_text_without_special_tokens() -> None:
    encoder = PromptEncoder("builtin:quickstart", PromptSettings())
    ids = encoder.encode(Task(id="t", prompt="def f(x):\n    return x + 1\n", tests=()))
    assert ids
    assert encoder.decode([*ids, 0, 0]) == "def f(x):\n    return x + 1\n"


@pytest.mark.parametrize("path", ["/no/such/folder", "./absent", "absent", "builtin:absent"])
def test_missing_folder(path: str) -> None:
    with pytest.raises(ModelError, match=r"model\.path"):
        load_model(path)


def test_folder_without_config(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json: no such file"):
        load_model(str(tmp_path))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"vocab_size": "many"}, "vocab_size"),
        ({"vocab_size": 0}, "vocab_size"),
        ({"num_hidden_layers": 0}, "num_hidden_layers"),
        ({"mask_token_id": None}, "mask_token_id"),
        ({"model_type": "gpt2"}, "model_type 'gpt2'"),
        ({"masked_diffusion": {"unknown": 1}}, "unknown"),
        ({"masked_diffusion": {"family": "bert"}}, r"masked_diffusion\.family 'bert'"),
        ({"masked_diffusion": {"family": "llada"}}, "does not go with model_type 'qwen2'"),
        ({"masked_diffusion": 1}, "masked_diffusion: must be a section"),
        ({"masked_diffusion": {"token_count": 449}}, "token_count 449 must not exceed vocab_size 448"),
        ({"masked_diffusion": {"token_count": 100}, "mask_token_id": 100}, "mask_token_id 100 must lie in"),
        ({"eos_token_id": -1}, "eos_token_id -1 must lie in the vocabulary of 448"),
        ({"pad_token_id": 448}, "pad_token_id 448 must lie in"),
        ({"masked_diffusion": {"end_of_turn_token_id": 448}}, "end_of_turn_token_id 448 must lie in"),
        ({"eos_token_id": 1}, "mask_token_id 1 must not be a token that ends the text"),
    ],
)
def test_bad_config_field_is_named(saved: Path, changes: dict[str, Any], named: str) -> None:
    change_config(saved, **changes)
    with pytest.raises(ModelError, match=named):
        load_model(str(saved))


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_config_that_is_not_json(saved: Path, text: str) -> None:
    (saved / "config.json").write_text(text)
    with pytest.raises(ModelError, match="not JSON"):
        load_model(str(saved))


def test_published_diffusion_config_is_understood(saved: Path) -> None:
    """A Dream config.json as published: no section of ours, no pad id, rope under rope_parameters."""
    change_config(
        saved,
        model_type="Dream",
        masked_diffusion=None,
        pad_token_id=None,
        rope_theta=None,
        tie_word_embeddings=None,
        rope_parameters={"rope_type": "default", "rope_theta": 777.0},
    )
    config = ModelConfig.from_folder(saved)
    assert (config.family, config.shift, config.rope_theta) == ("dream", True, 777.0)
    assert (config.pad_token_id, config.tie_word_embeddings) == (config.eos_token_id, False)


def test_section_of_an_older_folder_is_completed(saved: Path) -> None:
    change_config(saved, masked_diffusion={"family": "dream", "shift": False})
    config = ModelConfig.from_folder(saved)
    assert (config.family, config.shift, config.token_count, config.end_of_turn_token_id) == (
        "dream",
        False,
        None,
        None,
    )
    assert config.forbidden_token_ids == (1,)


@pytest.mark.parametrize("name", ["model.embed_tokens.weight", "model.layers.1.mlp.up_proj.weight"])
def test_missing_parameter_is_named(saved: Path, name: str) -> None:
    weights = load_file(saved / "model.safetensors")
    del weights[name]
    save_file(weights, saved / "model.safetensors")
    with pytest.raises(ModelError, match=name):
        load_model(str(saved))


def test_unexpected_parameter_is_named(saved: Path) -> None:
    weights = load_file(saved / "model.safetensors")
    save_file(weights | {"model.extra": torch.zeros(1)}, saved / "model.safetensors")
    with pytest.raises(ModelError, match=r"model\.extra"):
        load_model(str(saved))


def test_weights_of_another_shape(saved: Path) -> None:
    change_config(saved, intermediate_size=47)
    with pytest.raises(ModelError, match="do not fit"):
        load_model(str(saved))


def test_weights_of_another_dtype(saved: Path) -> None:
    weights = load_file(saved / "model.safetensors")
    save_file(weights | {"model.norm.weight": torch.ones(32, dtype=torch.int8)}, saved / "model.safetensors")
    with pytest.raises(ModelError, match=r"dtype that is not implemented: model\.norm\.weight I8"):
        load_model(str(saved))


def test_tied_output_layer_may_be_stored_as_well(saved: Path) -> None:
    weights = load_file(saved / "model.safetensors")
    twice = weights | {"lm_head.weight": weights["model.embed_tokens.weight"].clone()}
    save_file(twice, saved / "model.safetensors")
    model = load_model(str(saved))
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_frequencies_that_older_checkpoints_store_are_left_out(saved: Path) -> None:
    weights = load_file(saved / "model.safetensors")
    before = load_model(str(saved))
    save_file(
        weights | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}, saved / "model.safetensors"
    )
    after = dict(load_model(str(saved)).named_parameters())
    assert all(torch.equal(parameter, after[name]) for name, parameter in before.named_parameters())


def test_loaded_model_is_as_ready_as_one_built_from_its_config(saved: Path) -> None:
    loaded, built = load_model(str(saved)), MaskedDiffusionModel(ModelConfig.from_folder(saved))
    assert loaded.state_dict().keys() == built.state_dict().keys()
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    assert {t.dtype for t in loaded.parameters()} == {torch.float32}
    assert dict(loaded.named_buffers()).keys() == dict(built.named_buffers()).keys()
    for name, buffer in built.named_buffers():
        assert torch.equal(loaded.get_buffer(name), buffer)


def test_damaged_and_absent_weights(saved: Path) -> None:
    file = saved / "model.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        load_model(str(saved))
    file.unlink()
    with pytest.raises(ModelError, match=r"no \.safetensors"):
        load_model(str(saved))


@pytest.mark.parametrize("name", ["mask_token_id", "eos_token_id", "pad_token_id"])
def test_special_id_that_differs_between_tokenizer_and_config(saved: Path, name: str) -> None:
    load_tokenizer(str(saved))
    change_config(saved, **{name: 5})
    load_model(str(saved))  # which does not look at the tokenizer of a folder we saved
    with pytest.raises(ModelError, match=f"{name} is 5 in config.json"):
        load_tokenizer(str(saved))


def test_folder_without_tokenizer(saved: Path) -> None:
    (saved / "tokenizer.json").unlink()
    load_model(str(saved))
    with pytest.raises(ModelError, match=r"needs tokenizer\.json"):
        load_tokenizer(str(saved))


def test_tokenizer_with_more_tokens_than_the_model(saved: Path) -> None:
    change_config(saved, vocab_size=447)
    with pytest.raises(ModelError, match=r"vocab_size is 447 in config\.json and the tokenizer has 448 tokens"):
        load_tokenizer(str(saved))


def test_chat_prompts_need_a_chat_template() -> None:
    with pytest.raises(ModelError, match=r"data\.chat_template: the tokenizer of 'builtin:quickstart' has no"):
        PromptEncoder("builtin:quickstart", PromptSettings(chat_template=True))
