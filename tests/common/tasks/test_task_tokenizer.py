import random
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from learner.warm_start.synthetic import SyntheticTasks, noisy_solution
from learner.warm_start.tokenizer import END_ID, END_TOKEN, MASK_ID, MASK_TOKEN, save_tokenizer, train_tokenizer

UNSEEN = [
    "",
    " ",
    "\n",
    "\n\n  ",
    "    return 1\n",
    "\tif x:\r\n",
    "é – 漢字 🙂",
    "a  b   12 345x_6",
    "  x\n\n y",
]


def _texts(tasks: SyntheticTasks) -> list[str]:
    rng = random.Random(0)
    return [t.task.prompt + noisy_solution(t, rng) for t in tasks.train for _ in range(3)]


@pytest.fixture(scope="module")
def tokenizer(synthetic_tasks: SyntheticTasks) -> Tokenizer:
    return train_tokenizer(_texts(synthetic_tasks))


def test_every_text_survives_unchanged(tokenizer: Tokenizer, synthetic_tasks: SyntheticTasks):
    held_out = [text for t in synthetic_tasks.held_out for text in (t.task.prompt, t.other_phrasing, t.reference)]
    for text in held_out + UNSEEN:
        assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_special_tokens_and_single_digits(tokenizer: Tokenizer):
    assert (tokenizer.token_to_id(END_TOKEN), tokenizer.token_to_id(MASK_TOKEN)) == (END_ID, MASK_ID) == (0, 1)
    assert tokenizer.encode("x + 12").tokens[-2:] == ["1", "2"]
    digits = [token for token in tokenizer.get_vocab() if any(c in "0123456789" for c in token)]
    assert sorted(digits) == list("0123456789")


def test_lengths_are_bounded(tokenizer: Tokenizer, synthetic_tasks: SyntheticTasks):
    tasks = synthetic_tasks.train + synthetic_tasks.held_out
    prompts = [text for t in tasks for text in (t.task.prompt, t.other_phrasing)]
    assert max(len(tokenizer.encode(text).ids) for text in prompts) <= 36
    assert max(len(tokenizer.encode(t.reference).ids) + 1 for t in tasks) <= 28
    assert tokenizer.get_vocab_size() <= 448


def test_training_is_deterministic(tokenizer: Tokenizer, synthetic_tasks: SyntheticTasks):
    assert train_tokenizer(_texts(synthetic_tasks)).to_str() == tokenizer.to_str()


def test_the_folder_loads_as_a_hugging_face_tokenizer(tokenizer: Tokenizer, tmp_path: Path):
    save_tokenizer(tokenizer, tmp_path / "tokenizer")
    loaded = AutoTokenizer.from_pretrained(tmp_path / "tokenizer")
    assert (loaded.eos_token_id, loaded.pad_token_id, loaded.mask_token_id) == (END_ID, END_ID, MASK_ID)
    assert len(loaded) == tokenizer.get_vocab_size()
    for text in UNSEEN:
        ids = loaded(text)["input_ids"]
        assert ids == tokenizer.encode(text).ids
        assert loaded.decode(ids) == text
    assert loaded.decode([MASK_ID, *loaded("x")["input_ids"], END_ID], skip_special_tokens=True) == "x"


def test_a_vocabulary_too_small_for_the_bytes_is_refused():
    with pytest.raises(ValueError, match="at least 258"):
        train_tokenizer(["x"], vocab_size=100)
