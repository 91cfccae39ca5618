"""Prompts that data sets hold as conversations: lists of turns, each with a role and its content."""

from __future__ import annotations

from typing import Any

from common.tasks.json_fields import parsed
from common.tasks.rows import TaskRow

_ROLES = ("system", "user", "assistant")
MESSAGES = "messages"


def asked(row: TaskRow, *names: str) -> str:
    """Return what a row asks: the text of the first field that is there, or the question of a conversation there.

    Without any of the fields, ``messages`` is read. A conversation has one question; what its system turn says
    goes before it, and an answer behind it is not read. Raises TaskFileError for any other, and for no text.
    """
    name = row.name_of(*names, MESSAGES)
    if name is None or not is_conversation(row, name):
        return row.required_text(*names)
    turns = [_turn(row, f"{name}.{number}", turn) for number, turn in enumerate(parsed(row, name))]
    roles = [role for role, _ in turns]
    if roles not in (["user"], ["system", "user"], ["user", "assistant"], ["system", "user", "assistant"]):
        raise row.error(
            name,
            f"has turns of {', '.join(roles) or 'nobody'}; give one of the user, after one of the system at most",
        )
    return "\n\n".join(text for role, text in turns if role != "assistant" and text)


def is_conversation(row: TaskRow, name: str) -> bool:
    """Return whether a field holds turns, or the JSON of turns; text that looks otherwise is a question."""
    value = row.fields.get(name)
    if isinstance(value, str) and name == MESSAGES:
        value = parsed(row, name)
    return isinstance(value, list)


def _turn(row: TaskRow, place: str, turn: Any) -> tuple[str, str]:
    role = turn.get("role") if isinstance(turn, dict) else None
    if role not in _ROLES:
        raise row.error(place, f"has no role of {', '.join(_ROLES)}; give each turn role and content")
    content = turn.get("content")
    if isinstance(content, list):  # parts, of which texts are the ones that a code model reads
        content = "".join(part.get("text") or "" for part in content if isinstance(part, dict))
    if not isinstance(content, str) or (role == "user" and not content):
        raise row.error(f"{place}.content", "is no text; give it one")
    return role, content
