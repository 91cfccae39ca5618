"""Tokenizers of published folders: their special ids, beside those that config.json states."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from common.config import PromptSettings
from common.models.config import ModelConfig, ModelError
from common.models.folder import load_tokenizer
from common.models.loading import load_model, save_model
from common.models.prompts import PromptEncoder
from common.models.transformer import MaskedDiffusionModel
from tests.common.family_folders import DREAM, LLADA, llada_weights, publish, stock_llama
from tests.outside_data import outside_data

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
