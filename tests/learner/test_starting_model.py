"""Causal checkpoints as masked-diffusion models, against transformers' own models of the same weights."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from common.config.stages import Stage, StageConfig, StageModelConfig
from common.disk import DiskError
from common.models.config import ModelConfig
from common.models.families import ModelError
from common.models.folder import load_tokenizer
from common.models.loading import load_model, save_model
from common.models.packing import Packing
from common.models.transformer import MaskedDiffusionModel, initialize
from learner.stages.starting_model import make_starting_model
from learner.stages.starting_plan import needs_starting_model
from tests.disks import small_disk
from tests.learner.causal_folders import (
    CHATML,
    SPECIAL,
    TEXT,
    causal_folder,
    change_json,
    write_gguf,
    write_tokenizer,
)


def start(
    source: Path, target: Path, stage: Stage = "adapt", padding: str = "none", seed: int = 0, **fields: Any
) -> Path:
    model = StageModelConfig(path=str(source), **fields)
    assert needs_starting_model(model, stage, padding)
    make_starting_model(model, stage, padding, seed, target)
    assert [path.name for path in target.parent.iterdir() if path.name.startswith(".")] == []
    return target


def refusal(source: Path, target: Path, stage: Stage = "adapt", padding: str = "none", **fields: Any) -> str:
    """The one error of a model that cannot be used, before and when it is to be made; nothing is written."""
    model = StageModelConfig(path=str(source), **fields)
    before = {path: path.stat().st_mtime_ns for path in source.rglob("*")} if source.is_dir() else {}
    with pytest.raises(ModelError) as early:
        needs_starting_model(model, stage, padding)
    with pytest.raises(ModelError) as late:
        make_starting_model(model, stage, padding, 0, target)
    assert str(early.value).splitlines()[0] == str(late.value).splitlines()[0]
    assert not target.exists()
    assert before == ({path: path.stat().st_mtime_ns for path in source.rglob("*")} if source.is_dir() else {})
    return str(late.value)


@torch.no_grad()
def full_logits(model: PreTrainedModel, ids: list[int]) -> torch.Tensor:
    visible = torch.zeros(1, 1, len(ids), len(ids))
    logits: torch.Tensor = model(torch.tensor([ids]), attention_mask=visible, use_cache=False).logits[0]
    return logits


@torch.no_grad()
def causal_logits(model: PreTrainedModel, ids: list[int]) -> torch.Tensor:
    logits: torch.Tensor = model(torch.tensor([ids]), use_cache=False).logits[0]
    return logits


@pytest.mark.parametrize(
    ("layout", "spare", "tied", "shard"),
    [
        ("qwen2", 3, False, "20KB"),
        ("qwen2", 0, True, "1GB"),
        ("llama", 1, True, "20KB"),
        ("llama", 0, False, "1GB"),
    ],
)
def test_the_converted_model_is_the_causal_one_seen_without_its_mask(
    tmp_path: Path, layout: str, spare: int, tied: bool, shard: str
) -> None:
    theirs = causal_folder(tmp_path / "causal", layout, spare, tied, shard)
    folder = start(tmp_path / "causal", tmp_path / "start")
    ours, tokenizer = load_model(str(folder)), load_tokenizer(str(folder))
    count = len(load_tokenizer(str(folder)).get_vocab())
    assert (ours.config.family, ours.config.shift) == (layout, True)
    assert (ours.config.mask_token_id, ours.config.token_count) == (count - 1, count)
    assert (ours.config.eos_token_id, ours.config.pad_token_id, ours.config.end_of_turn_token_id) == (0, 0, 2)
    assert (tokenizer.mask_token, tokenizer.mask_token_id) == ("<|mask|>", count - 1)
    ids = tokenizer(TEXT)["input_ids"]
    assert tokenizer.decode([*ids, count - 1], skip_special_tokens=True) == TEXT
    packing = Packing.of([len(ids)])
    logits = ours.logits(ours.hidden(torch.tensor(ids), packing))
    assert logits[:, ours.config.forbidden_token_ids].isneginf().all()
    old = count - 1
    torch.testing.assert_close(logits[:, :old], full_logits(theirs, ids)[:, :old], atol=1e-4, rtol=1e-4)
    # And in transformers it is still the causal model that it was.
    again = AutoModelForCausalLM.from_pretrained(folder).eval()
    assert torch.equal(causal_logits(again, ids)[:, :old], causal_logits(theirs, ids)[:, :old])
    assert AutoTokenizer.from_pretrained(folder).mask_token_id == count - 1


@pytest.mark.parametrize(("spare", "tied"), [(0, False), (4, True)])
def test_a_new_token_has_the_mean_of_the_rows_of_tokens_and_all_others_stay(
    tmp_path: Path, spare: int, tied: bool
) -> None:
    theirs = causal_folder(tmp_path / "causal", spare=spare, tied=tied)
    ours = load_model(str(start(tmp_path / "causal", tmp_path / "start")))
    tokens = ours.config.mask_token_id
    assert ours.config.vocab_size == tokens + max(1, spare)
    tables = ["model.embed_tokens.weight", *([] if tied else ["lm_head.weight"])]
    for name, parameter in theirs.named_parameters():
        mine = ours.get_parameter(name)
        if name in tables:
            torch.testing.assert_close(mine[tokens], parameter[:tokens].mean(0))
            assert torch.equal(mine[:tokens], parameter[:tokens])
            assert torch.equal(mine[tokens + 1 :], parameter[tokens + 1 :])
        else:
            assert torch.equal(mine, parameter), name


def test_weights_keep_the_type_that_they_have(tmp_path: Path) -> None:
    theirs = causal_folder(tmp_path / "causal").bfloat16()
    theirs.save_pretrained(tmp_path / "causal")
    folder = start(tmp_path / "causal", tmp_path / "start")
    assert json.loads((folder / "config.json").read_text())["torch_dtype"] == "bfloat16"
    assert AutoModelForCausalLM.from_pretrained(folder).dtype == torch.bfloat16
    assert torch.equal(
        load_model(str(folder)).get_parameter("model.layers.1.mlp.up_proj.weight"),
        theirs.get_parameter("model.layers.1.mlp.up_proj.weight").float(),
    )


def test_an_unused_special_token_masks_where_it_is_named(tmp_path: Path) -> None:
    theirs = causal_folder(tmp_path / "causal")
    folder = start(tmp_path / "causal", tmp_path / "start", mask_token="<empty_output>")
    ours = load_model(str(folder))
    assert (ours.config.mask_token_id, ours.config.vocab_size) == (3, theirs.config.vocab_size)
    assert load_tokenizer(str(folder)).mask_token == "<empty_output>"
    assert all(torch.equal(ours.get_parameter(name), p) for name, p in theirs.named_parameters())


def test_a_learned_pad_token_is_a_token_of_its_own(tmp_path: Path) -> None:
    causal_folder(tmp_path / "causal", tied=False)
    adapted = start(tmp_path / "causal", tmp_path / "adapted")
    model = StageModelConfig(path=str(adapted), pad_token="<|dlm_pad|>")
    assert not needs_starting_model(model, "sft", "none")
    assert not needs_starting_model(StageModelConfig(path=str(adapted)), "sft", "learned")
    folder = start(adapted, tmp_path / "start", "sft", "learned", pad_token="<|dlm_pad|>")
    before, ours, tokenizer = load_model(str(adapted)), load_model(str(folder)), load_tokenizer(str(folder))
    pad = before.config.vocab_size
    assert ours.config == before.config.model_copy(
        update={"pad_token_id": pad, "vocab_size": pad + 1, "token_count": pad + 1}
    )
    assert (tokenizer.pad_token, tokenizer.pad_token_id) == ("<|dlm_pad|>", pad)
    assert (tokenizer.mask_token, ours.config.end_token_ids) == ("<|mask|>", (0, 2, pad))
    torch.testing.assert_close(ours.lm_head.weight[pad], before.lm_head.weight.mean(0))
    assert torch.equal(ours.lm_head.weight[:pad], before.lm_head.weight)
    # It is there now, so another stage needs nothing.
    assert not needs_starting_model(StageModelConfig(path=str(folder), pad_token="<|dlm_pad|>"), "sft", "learned")


@pytest.mark.parametrize("stage", ["adapt", "pretrain"])
def test_random_weights_are_those_of_the_seed(tmp_path: Path, stage: Stage) -> None:
    causal_folder(tmp_path / "causal")
    made = [
        load_model(str(start(tmp_path / "causal", tmp_path / name, stage, seed=seed, weights="random")))
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    ]
    expected = MaskedDiffusionModel(made[0].config)
    initialize(expected, torch.Generator().manual_seed(3))
    assert all(map(torch.equal, made[0].parameters(), expected.parameters()))
    assert all(map(torch.equal, made[0].parameters(), made[1].parameters()))
    assert not torch.equal(made[0].lm_head.weight, made[2].lm_head.weight)


EOT = CHATML.replace("<|im_end|>\n", "\n<|eot_id|>\n")


@pytest.mark.parametrize(
    ("layout", "template", "expected"),
    [
        ("llama", CHATML, "<|im_end|>"),  # SmolLM2
        ("llama", EOT, "<|eot_id|>"),
        ("qwen2", EOT, "<|eot_id|>"),
        ("llama", None, "<|eot_id|>"),
        ("qwen2", None, "<|im_end|>"),
        ("qwen2", "{{ raise_exception('no') }}", "<|im_end|>"),
    ],
)
def test_the_end_of_a_turn_is_what_the_template_ends_answers_with(
    tmp_path: Path, layout: str, template: str | None, expected: str
) -> None:
    causal_folder(tmp_path / "causal", layout)
    write_tokenizer(tmp_path / "causal", template)
    if template is None:
        (tmp_path / "causal" / "chat_template.jinja").unlink()
    folder = start(tmp_path / "causal", tmp_path / "start")
    assert ModelConfig.from_folder(folder).end_of_turn_token_id == SPECIAL.index(expected)
    load_tokenizer(str(folder))


def test_of_several_ends_of_text_the_tokenizer_says_which_is_meant(tmp_path: Path) -> None:
    causal_folder(tmp_path / "causal")
    change_json(tmp_path / "causal" / "config.json", eos_token_id=[2, 0])
    assert ModelConfig.from_folder(start(tmp_path / "causal", tmp_path / "start")).eos_token_id == 0
    change_json(tmp_path / "causal" / "config.json", eos_token_id=[2, 3])
    assert "eos_token_id is [2, 3] and the tokenizer declares 0" in refusal(tmp_path / "causal", tmp_path / "no")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mask_token": "def"}, r"model.mask_token 'def': is an ordinary token; name a special one"),
        ({"mask_token": "mask me"}, "model.mask_token 'mask me': is not in the vocabulary, and"),
        ({"mask_token": "<|endoftext|>"}, "model.mask_token '<|endoftext|>': is in use: it ends texts"),
        ({"mask_token": "<|im_end|>"}, "model.mask_token '<|im_end|>': is in use: it ends a turn"),
        ({"mask_token": "<|im_start|>"}, "model.mask_token '<|im_start|>': is in use: it is written by the chat"),
    ],
)
def test_a_token_that_texts_use_does_not_mask(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    causal_folder(tmp_path / "causal")
    assert message in refusal(tmp_path / "causal", tmp_path / "start", **fields)


def test_a_new_token_never_takes_the_id_of_another(tmp_path: Path) -> None:
    causal_folder(tmp_path / "causal")
    file = tmp_path / "causal" / "tokenizer.json"
    raw = json.loads(file.read_text())
    last = max(raw["model"]["vocab"].values())
    raw["model"]["vocab"] = {token: i for token, i in raw["model"]["vocab"].items() if i != last - 1}
    raw["model"]["merges"] = []
    file.write_text(json.dumps(raw))
    message = refusal(tmp_path / "causal", tmp_path / "start")
    assert (
        f"model.mask_token '<|mask|>': the tokenizer would give it id {last}, which is that of another" in message
    )
    assert start(tmp_path / "causal", tmp_path / "start", mask_token="<empty_output>").is_dir()


def test_the_pad_token_does_not_mask_and_the_mask_token_does_not_pad(tmp_path: Path) -> None:
    causal_folder(tmp_path / "causal")
    write_tokenizer(tmp_path / "causal", pad_token="<empty_output>")
    found = refusal(tmp_path / "causal", tmp_path / "start", mask_token="<empty_output>")
    assert "model.mask_token '<empty_output>': is in use: it pads" in found
    adapted = start(tmp_path / "causal", tmp_path / "adapted")
    for pad, message in (("<|mask|>", "is the mask token"), ("def", "is an ordinary token")):
        found = refusal(adapted, tmp_path / "start", "sft", "learned", pad_token=pad)
        assert f"model.pad_token {pad!r}: {message}" in found


def test_a_model_at_the_wrong_stage(tmp_path: Path) -> None:
    causal_folder(tmp_path / "causal")
    adapted = start(tmp_path / "causal", tmp_path / "adapted")
    assert "is a masked-diffusion model already" in refusal(adapted, tmp_path / "start")
    for stage in ("pretrain", "sft"):
        found = refusal(tmp_path / "causal", tmp_path / "start", stage)
        assert "is a causal model; adapt it first (couplet adapt)" in found
        assert not needs_starting_model(StageModelConfig(path=str(adapted)), stage, "none")
    found = refusal(adapted, tmp_path / "start", "pretrain", mask_token="<empty_output>")
    assert "model.mask_token '<empty_output>': the model masks with '<|mask|>'" in found


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "mistral"}, "config.json: model_type 'mistral' is not one of"),
        ({"eos_token_id": 5}, "eos_token_id is 5 in config.json and 0 in the tokenizer; correct the one"),
        (
            {"vocab_size": 200},
            "config.json: vocab_size is 200 and the tokenizer has 277 tokens; take the tokenizer",
        ),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "config.json: rope_parameters: 'yarn'"),
        ({"hidden_act": "gelu"}, "config.json: hidden_act: 'gelu' is not implemented"),
    ],
)
def test_a_checkpoint_that_cannot_be_used(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    causal_folder(tmp_path / "causal")
    change_json(tmp_path / "causal" / "config.json", **changes)
    assert message in refusal(tmp_path / "causal", tmp_path / "start")


def test_weights_that_are_not_there_leave_nothing_behind(tmp_path: Path) -> None:
    causal_folder(tmp_path / "causal")
    (tmp_path / "causal" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"holds no \.safetensors file"):
        make_starting_model(
            StageModelConfig(path=str(tmp_path / "causal")), "adapt", "none", 0, tmp_path / "start"
        )
    assert [path.name for path in tmp_path.iterdir()] == ["causal"]


def test_a_disk_without_writing_the_model_is_one_error(tmp_path: Path) -> None:
    causal_folder(tmp_path / "causal")
    with small_disk(tmp_path / "disk", "20k") as disk:
        with pytest.raises(DiskError, match="disk/start: the disk has no room for the model; make room"):
            start(tmp_path / "causal", disk / "start")
        assert list(disk.iterdir()) == []


@pytest.mark.parametrize("tied", [True, False])
def test_a_gguf_file_becomes_the_model_that_its_folder_becomes(
    tmp_path: Path, tied: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    theirs = causal_folder(tmp_path / "causal", tied=tied)
    write_gguf(tmp_path / "model.gguf", tmp_path / "causal", theirs)
    capfd.readouterr()
    ours = load_model(str(start(tmp_path / "model.gguf", tmp_path / "ours")))
    assert capfd.readouterr() == ("", ""), "no bars over the display of a run"
    expected = load_model(str(start(tmp_path / "causal", tmp_path / "expected")))
    stated = {"rms_norm_eps": expected.config.rms_norm_eps}  # an fp32 number in the file
    assert ours.config.model_copy(update=stated) == expected.config
    assert all(map(torch.equal, ours.parameters(), expected.parameters()))
    ids = [load_tokenizer(str(tmp_path / name))(TEXT + "<|im_end|>")["input_ids"] for name in ("ours", "expected")]
    assert ids[0] == ids[1]


def test_gguf_without_its_package_or_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "model.gguf"
    assert f"model.path {str(file)!r}: no such file" in refusal(file, tmp_path / "start")
    file.write_bytes(b"not a model")
    assert "not a Qwen2 or Llama model that can be read" in refusal(file, tmp_path / "start")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "gguf" else find(name))
    assert "pip install 'couplet-rl[gguf]'" in refusal(file, tmp_path / "start")


def test_a_gguf_file_that_was_cut_off(tmp_path: Path) -> None:
    write_gguf(tmp_path / "model.gguf", tmp_path / "causal", causal_folder(tmp_path / "causal"))
    whole = (tmp_path / "model.gguf").read_bytes()
    for share in (0.001, 0.05):
        (tmp_path / "model.gguf").write_bytes(whole[: int(share * len(whole))])
        assert "can be read: " in refusal(tmp_path / "model.gguf", tmp_path / "start")


def test_a_family_of_its_own_keeps_its_format_when_a_pad_token_is_added(tmp_path: Path) -> None:
    causal_folder(tmp_path / "causal", spare=1)
    adapted = load_model(str(start(tmp_path / "causal", tmp_path / "adapted")))
    published = tmp_path / "dream"
    save_model(adapted.config, adapted.named_parameters(), published, tmp_path / "adapted")
    raw = json.loads((published / "config.json").read_text())
    del raw["masked_diffusion"]
    dream = raw | {"model_type": "Dream", "auto_map": {"AutoModel": "modeling_dream.DreamModel"}}
    (published / "config.json").write_text(json.dumps(dream))
    folder = start(published, tmp_path / "start", "sft", "learned", pad_token="<|dlm_pad|>")
    written = json.loads((folder / "config.json").read_text())
    assert written == dream | {"pad_token_id": raw["vocab_size"], "vocab_size": raw["vocab_size"] + 1}
    assert load_tokenizer(str(folder)).pad_token_id == raw["vocab_size"]
    assert load_model(str(folder)).config.end_token_ids == (0, 2, raw["vocab_size"])


def test_settings_that_nothing_would_read_are_refused() -> None:
    data = {"sources": ["builtin:stdlib"]}
    for stage, fields, message in (
        ("sft", {"model": {"path": "m", "pad_token": "<pad>"}}, r"model\.pad_token: not used; set data\.padding"),
        (
            "pretrain",
            {"run": {"keep_best": True}, "data": data | {"held_out_share": 0}},
            r"run\.keep_best: .*set data\.held_out_share",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            StageConfig.model_validate({"stage": stage, "model": {"path": "m"}, "data": data} | fields)
