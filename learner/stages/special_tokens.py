"""Tokens that a model is given before a stage: one that masks, and one that it learns to pad with."""

from __future__ import annotations

import re
from typing import Any

from tokenizers import AddedToken

from common.models.families import ModelError, family_named
from common.models.tokenizer import special_tokens

#: What the mask token of a model that has none is called.
_MASK = "<|mask|>"
#: What a new token must look like: any other text may occur in a document, which would then hold the token.
_NEW = r"<\S+>|\[\S+\]"


def declare_mask_token(tokenizer: Any, family: str, text: str | None) -> int:
    """Declare ``text`` as what masks in ``tokenizer``, and return its id; the token is added if it is new.

    By default it is the mask token that the tokenizer declares, else ``<|mask|>``. Raises :class:`ModelError` for
    one that texts use.
    """
    own = tokenizer.mask_token
    if text is not None and own is not None and text != own:
        raise ModelError(f"model.mask_token {text!r}: the tokenizer masks with {own!r}; leave the field out")
    text = text or own or _MASK
    _check("model.mask_token", tokenizer, text)
    _check_is_free(tokenizer, family, text)
    return _declare(tokenizer, "mask_token", text)


def declare_pad_token(tokenizer: Any, family: str, text: str) -> int:
    """Declare ``text`` as the pad token of ``tokenizer``, and return its id; the token is added if it is new.

    Raises :class:`ModelError` for one that texts use, and where the model has another learned pad.
    """
    learned = family_named(family).pad
    if learned in tokenizer.get_vocab() and text != learned:
        raise ModelError(f"model.pad_token {text!r}: the model pads with {learned!r}; leave the field out")
    if text == tokenizer.mask_token:
        raise ModelError(f"model.pad_token {text!r}: is the mask token; name another")
    _check("model.pad_token", tokenizer, text)
    return _declare(tokenizer, "pad_token", text)


def _declare(tokenizer: Any, role: str, text: str) -> int:
    before = tokenizer.get_vocab()
    new = text not in before
    tokenizer.add_special_tokens({role: AddedToken(text, special=True, normalized=False) if new else text})
    token = int(tokenizer.convert_tokens_to_ids(text))
    if new and token in before.values():  # it counts tokens to find the next id, and some ids are left out
        raise ModelError(
            f"model.{role} {text!r}: the tokenizer would give it id {token}, which is that of another token, "
            "since its ids have gaps; name a special token that it has and no text uses"
        )
    return token


def _check(field: str, tokenizer: Any, text: str) -> None:
    """Raise ModelError for a token that may stand in a text: an ordinary one, or a new one that looks so."""
    token = tokenizer.get_vocab().get(text)
    if token is None and not re.fullmatch(_NEW, text):
        raise ModelError(
            f"{field} {text!r}: is not in the vocabulary, and a new token must be one that no text holds; write "
            "it as <...>"
        )
    known = tokenizer.added_tokens_decoder
    if token is not None and not (token in known and known[token].special):
        raise ModelError(
            f"{field} {text!r}: is an ordinary token; name a special one that no text uses, or a new one"
        )


def _check_is_free(tokenizer: Any, family: str, text: str) -> None:
    """Raise ModelError for a token that has another use."""
    known = special_tokens(tokenizer, family)
    uses = {
        "begins texts": tokenizer.bos_token_id,
        "ends texts": known.eos,
        "pads": known.pad,
        "ends a turn": known.end_of_turn,
        "stands for what is not known": tokenizer.unk_token_id,
    }
    token = tokenizer.get_vocab().get(text)
    use = next((use for use, other in uses.items() if token is not None and token == other), None)
    if use is None and text in str(tokenizer.chat_template or ""):
        use = "is written by the chat template"
    if use is not None:
        raise ModelError(f"model.mask_token {text!r}: is in use: it {use}; name a token that no text uses")
