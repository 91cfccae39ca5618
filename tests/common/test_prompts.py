"""What the model reads of a task, and what becomes of what it wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from common.config import PromptSettings
from common.models.families import ModelError
from common.models.folder import load_tokenizer
from common.models.prompts import PromptEncoder
from common.records import Task
from reward_service.extraction import format_score, program_of
from tests.outside_data import outside_data

TEMPLATE = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}[assistant] "
BEGUN = "Here is the code to solve this problem:\n```python\n"
QUESTION = Task(id="q", prompt="Give 1.", completion="fenced", tests=())
CONTINUED = Task(id="c", prompt="def f():\n", prefix="def f():\n", tests=())


@pytest.fixture
def template(tmp_path: Path) -> Path:
    (tmp_path / "chat.jinja").write_text(TEMPLATE)
    return tmp_path / "chat.jinja"


def encoder_of(**settings: object) -> PromptEncoder:
    return PromptEncoder("builtin:quickstart", PromptSettings.model_validate(settings))


def read(encoder: PromptEncoder, task: Task) -> str:
    return encoder.decode(encoder.encode(task))


def test_the_template_of_a_file_holds_system_prompt_and_question(template: Path) -> None:
    chat = {"chat_template": True, "chat_template_file": template}
    helpful = "[system] You are a helpful assistant.\n[user] Give 1.\n[assistant] "
    assert read(encoder_of(**chat), QUESTION) == helpful
    assert read(encoder_of(**chat, system_prompt="Be brief."), QUESTION) == helpful.replace(
        "You are a helpful assistant.", "Be brief."
    )
    assert read(encoder_of(**chat, system_prompt=None), QUESTION) == "[user] Give 1.\n[assistant] "
    assert read(encoder_of(**chat, answer_prefix=BEGUN), QUESTION) == helpful + BEGUN
    assert read(encoder_of(answer_prefix=BEGUN), QUESTION) == "Give 1." + BEGUN
    assert read(encoder_of(system_prompt="Be brief."), QUESTION) == "Give 1."


def test_a_continuation_is_no_answer(template: Path) -> None:
    encoder = encoder_of(answer_prefix=BEGUN)
    assert read(encoder, CONTINUED) == CONTINUED.prompt
    assert encoder.answer(CONTINUED, encoder.encode(CONTINUED)) == CONTINUED.prompt


def test_extraction_and_format_see_the_whole_answer() -> None:
    written = encoder_of().encode(QUESTION.model_copy(update={"prompt": "def f():\n    return 1\n```\n"}))
    for begun, program, form in ((BEGUN, "def f():\n    return 1\n", 1.0), ("", None, 0.0)):
        text = encoder_of(answer_prefix=begun).answer(QUESTION, written)
        assert program_of(QUESTION, text) == program
        assert format_score(QUESTION, text, program) == form


def test_the_fingerprint_covers_all_that_is_rendered(tmp_path: Path, template: Path) -> None:
    other = tmp_path / "other.jinja"
    other.write_text(TEMPLATE + " ")
    chat = {"chat_template": True, "chat_template_file": template}
    variants: list[dict[str, object]] = [
        {},
        {"answer_prefix": BEGUN},
        chat,
        {**chat, "chat_template_file": other},
        {**chat, "system_prompt": None},
        {**chat, "system_prompt": "Be brief."},
        {**chat, "answer_prefix": BEGUN},
    ]
    prints = [encoder_of(**variant).fingerprint for variant in variants]
    assert len(set(prints)) == len(prints)
    assert prints == [encoder_of(**variant).fingerprint for variant in variants]
    moved = tmp_path / "moved.jinja"
    template.rename(moved)
    assert encoder_of(**{**chat, "chat_template_file": moved}).fingerprint == prints[2]
    assert encoder_of(system_prompt="Said nowhere.").fingerprint == prints[0]


def test_templates_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    absent, broken = tmp_path / "absent.jinja", tmp_path / "broken.jinja"
    with pytest.raises(ModelError, match=r"data\.chat_template_file .*absent\.jinja: cannot be read"):
        encoder_of(chat_template=True, chat_template_file=absent)
    for text in (
        "{% for m in",
        "{{ raise_exception('no system turns') }}",
        "{{ messages[5].content }}",
        "{{ 1 // 0 }}",
        "{{ messages + 1 }}",
        "{% include 'other' %}",
    ):
        broken.write_text(text)
        with pytest.raises(ModelError, match=r"data\.chat_template: .*broken\.jinja cannot be rendered: .*; mend"):
            encoder_of(chat_template=True, chat_template_file=broken).encode(QUESTION)
    broken.write_text(" \n")
    with pytest.raises(ModelError, match=r"data\.chat_template_file .*broken\.jinja: is empty"):
        encoder_of(chat_template=True, chat_template_file=broken)
    with pytest.raises(ValidationError, match="chat_template_file: not used; set chat_template: true"):
        PromptSettings(chat_template_file=absent)


def test_the_prompt_of_the_released_run_in_the_real_vocabulary(tmp_path: Path) -> None:
    """Turns as the released README writes them out, between the tokens that stand for them."""
    source = outside_data("data/tokenizers/qwen2.5")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).symlink_to(source / name)
    shape = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    ids = {"mask_token_id": 151666, "eos_token_id": 151643, "pad_token_id": 151643}
    config = (
        {"model_type": "Dream", "vocab_size": 152064, "rope_theta": 1e6, "num_key_value_heads": 1} | shape | ids
    )
    (tmp_path / "config.json").write_text(json.dumps(config))
    template = tmp_path / "turns.jinja"
    template.write_text(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    settings = PromptSettings(chat_template=True, chat_template_file=template, answer_prefix=BEGUN)
    plain = load_tokenizer(str(tmp_path))
    expected: list[int] = []
    for text in ("system\nYou are a helpful assistant.", "user\nGive 1."):
        expected += [151644, *plain(text)["input_ids"], 151645, *plain("\n")["input_ids"]]
    expected += [151644, *plain(f"assistant\n{BEGUN}")["input_ids"]]
    assert PromptEncoder(str(tmp_path), settings).encode(QUESTION) == tuple(expected)
