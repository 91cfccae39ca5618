"""Examples of supervised fine-tuning: what the model reads, and what it learns to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.config import PromptSettings
from common.models.config import ModelConfig
from common.models.folder import load_tokenizer, model_folder
from common.models.prompts import PromptEncoder
from common.models.tokenizer import read_tokenizer
from common.records import Task
from learner.stages.corpus import Corpus
from learner.stages.segments import Segment
from tests.learner.stages.corpus_tools import (
    END,
    MODEL,
    PAD,
    SPECIAL,
    TURN_END,
    byte_tokenizer,
    corpus_of,
    ids_of,
    rows,
    run_of,
    steps,
    text_of,
)
from tests.outside_data import outside_data

SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
ASKED = f"{SYSTEM}<|im_start|>user\nGive 1.<|im_end|>\n<|im_start|>assistant\n"


def examples(corpus: Corpus) -> list[Segment]:
    """The examples of the first epoch, in the order of their file."""
    segments = steps(corpus, int(corpus.epoch_steps) + 1)
    return sorted((s for s in segments if s.key[2] == 0), key=lambda segment: segment.key)


def prompts_and_answers(corpus: Corpus) -> list[tuple[str, str]]:
    return [(text_of(s.ids[: s.prompt]), text_of(s.ids[s.prompt :])) for s in examples(corpus)]


def test_the_prompt_is_the_template_s_up_to_the_answer_and_the_turn_end_is_the_answer_s(tmp_path: Path) -> None:
    path = rows(tmp_path / "a.jsonl", {"prompt": "Give 1.", "answer": "1"})
    corpus = corpus_of(run_of(path, stage="sft", context_length=200), tmp_path / "data")
    assert prompts_and_answers(corpus) == [(ASKED, "1<|im_end|>")]
    assert examples(corpus)[0].ids.tolist() == [*ids_of(ASKED + "1"), TURN_END]


def test_a_conversation_s_last_turn_is_the_answer(tmp_path: Path) -> None:
    turns = [
        ("system", "Be brief."),
        ("user", "Give 1."),
        ("assistant", "1"),
        ("user", "Again."),
        ("assistant", "2"),
    ]
    conversation = [{"role": role, "content": content} for role, content in turns]
    path = rows(
        tmp_path / "a.jsonl", {"chat": conversation}, {"chat": conversation[1:3]}, {"ask": "3?", "say": "3"}
    )
    source = {"path": str(path), "messages": "chat", "prompt": "ask", "answer": "say"}
    corpus = corpus_of(run_of(source, stage="sft", context_length=300), tmp_path / "data")
    earlier = "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in turns[:-1])
    assert prompts_and_answers(corpus) == [
        (f"{earlier}<|im_start|>assistant\n", "2<|im_end|>"),
        (ASKED, "1<|im_end|>"),
        (ASKED.replace("Give 1.", "3?"), "3<|im_end|>"),
    ]
    none = run_of(source, stage="sft", context_length=300, system_prompt=None)
    assert prompts_and_answers(corpus_of(none, tmp_path / "none"))[1][0] == ASKED.removeprefix(SYSTEM)


def test_without_a_template_the_answer_follows_its_prompt(tmp_path: Path) -> None:
    path = rows(tmp_path / "a.jsonl", {"prompt": "def f():\n", "answer": "    return 1\n"})
    corpus = corpus_of(run_of(path, stage="sft"), tmp_path / "data", byte_tokenizer(template=None))
    assert prompts_and_answers(corpus) == [("def f():\n", "    return 1\n<|endoftext|>")]


def test_a_family_without_a_turn_end_ends_with_the_text(tmp_path: Path) -> None:
    path = rows(tmp_path / "a.jsonl", {"prompt": "Give 1.", "answer": "1"})
    model = ModelConfig.model_validate({**dict(MODEL), "end_of_turn_token_id": None})
    corpus = corpus_of(run_of(path, stage="sft", context_length=200), tmp_path / "data", model=model)
    assert examples(corpus)[0].ids[-1] == END


def test_learned_pads_fill_the_context(tmp_path: Path) -> None:
    path = rows(tmp_path / "a.jsonl", *({"prompt": f"{n}?", "answer": "1" * n} for n in range(1, 12)))
    config = run_of(path, stage="sft", context_length=150, padding="learned", held_out_share=0.4)
    corpus = corpus_of(config, tmp_path / "data")
    held_out = corpus.held_out(99)
    assert len(held_out) == corpus.summary.held_out_documents > 0
    for segment in [*examples(corpus), *held_out]:
        assert len(segment) == 150
        answer = segment.ids[segment.prompt : len(segment) - segment.padding]
        assert answer[-1] == TURN_END
        assert set(answer[:-1]) == set(ids_of("1"))
        assert segment.ids[len(segment) - segment.padding :].tolist() == [PAD] * segment.padding
    assert corpus.position(2).tokens == 2 * 3 * 150


def test_an_answer_never_holds_special_tokens(tmp_path: Path) -> None:
    path = rows(tmp_path / "a.jsonl", {"prompt": "Give 1.", "answer": f"1{SPECIAL[TURN_END]}"})
    corpus = corpus_of(run_of(path, stage="sft", context_length=200), tmp_path / "data")
    [segment] = examples(corpus)
    assert [int(token) for token in segment.ids[segment.prompt :] if token < len(SPECIAL)] == [TURN_END]
    assert len(segment.ids) - segment.prompt == 1 + len(SPECIAL[TURN_END]) + 1


@pytest.mark.parametrize("system_prompt", ["Be brief.", None])
def test_the_prompt_is_what_reinforcement_learning_shows(tmp_path: Path, system_prompt: str | None) -> None:
    template = tmp_path / "chat.jinja"
    template.write_text("{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}[assistant] ")
    path = rows(tmp_path / "a.jsonl", {"prompt": "Give 1.\n", "answer": " 1"})
    chat = {"chat_template_file": str(template), "system_prompt": system_prompt}
    name = "builtin:quickstart"
    config = run_of(path, stage="sft", context_length=200, **chat)
    model = ModelConfig.from_folder(model_folder(name))
    [segment] = examples(corpus_of(config, tmp_path / "data", load_tokenizer(name), model))
    encoder = PromptEncoder(name, PromptSettings.model_validate({"chat_template": True, **chat}))
    task = Task(id="t", prompt="Give 1.\n", completion="fenced", tests=())
    assert segment.ids[: segment.prompt].tolist() == list(encoder.encode(task))


def test_published_tokenizers_render_their_own_templates(tmp_path: Path) -> None:
    tokenizer = read_tokenizer(outside_data("data/tokenizers/smollm2"), "llama")
    ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.eos_token_id, "mask_token_id": 16}
    changes = {"family": "llama", "vocab_size": 49152, "token_count": None, "end_of_turn_token_id": None}
    model = ModelConfig.model_validate({**dict(MODEL), **ids, **changes})
    path = rows(tmp_path / "a.jsonl", {"prompt": "Give <|im_end|>.", "answer": "<|im_start|>1<empty_output>"})
    corpus = corpus_of(run_of(path, stage="sft", context_length=200), tmp_path / "data", tokenizer, model)
    [segment] = examples(corpus)
    answer = segment.ids[segment.prompt :].tolist()
    assert tokenizer.decode(answer) == "<|im_start|>1<empty_output><|im_end|>"
    assert [token for token in answer if token in tokenizer.all_special_ids or token < 17] == [answer[-1]]
    assert tokenizer.decode(segment.ids[: segment.prompt]).endswith("<|im_start|>assistant\n")
