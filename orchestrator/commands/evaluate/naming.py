"""Messages about the fields of a recipe, in the words of a command that has options instead."""

from __future__ import annotations

#: Longer ones before those that they begin with.
_WORDS = {
    "model.path": "MODEL",
    "model.device": "--device",
    "set it to auto or cpu": "give --device auto or cpu",
    "data.chat_template_file": "--chat-template-file",
    "data.chat_template": "--template",
    "has no chat template; set it to false": "has no chat template; give --template plain",
    "set rollout.backend: torch": "give --engine torch",
    "rollout.backend.tensor_parallel_size": "--tensor-parallel-size",
}


def in_options(message: str) -> str:
    """Put options in place of the fields that a message names."""
    for field, option in _WORDS.items():
        message = message.replace(field, option)
    return message
