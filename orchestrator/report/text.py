"""Hostile text made fit to be shown: completions, names and configuration in reports and on the terminal."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

LONGEST_TEXT = 4000
_PASSWORD = re.compile(r"(://[^\s/@]*:)[^\s@]+@")
# The last ones are no characters of XML, and so of no SVG.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def clean(text: object, longest: int = LONGEST_TEXT) -> str:
    """Make visible what steers terminals or reorders lines, and cut the text to ``longest`` characters."""
    whole = str(text)
    kept = _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", whole[:longest])
    return kept if len(whole) <= longest else f"{kept}\n# … {len(whole) - longest} more characters"


def one_line(text: object, longest: int) -> str:
    """Put cleaned text on one line of at most ``longest`` characters and an ellipsis."""
    line = " ".join(clean(text).split())
    return line if len(line) <= longest else f"{line[:longest]}..."


def without_passwords(text: str) -> str:
    """Replace the passwords of the URLs in ``text`` by ``***``."""
    return _PASSWORD.sub(r"\1***@", text)


def program(record: Mapping[str, Any]) -> str:
    """Return the program of an evaluation or sample record, up to the end of the code.

    A chat answer is its fenced block. A completion that continues a function ends where the function does;
    what the model wrote after it is counted in a comment rather than shown.
    """
    prompt, completion = str(record.get("prompt", "")), str(record.get("completion", ""))
    fenced = re.search(r"```(?:python|py)?[ \t]*\n(.*?)(?:```|\Z)", completion, re.DOTALL)
    if fenced:
        return clean(fenced.group(1).rstrip())
    if not prompt.rstrip().endswith(":"):
        return clean((prompt + completion).strip("\n"))
    lines = completion.rstrip().split("\n")
    end = next((i for i, line in enumerate(lines) if i and line[:1].strip() and line[0] != "#"), len(lines))
    shown = (prompt + "\n".join(lines[:end])).rstrip()
    rest = len(lines) - end
    return clean(shown + (f"\n# … {rest} more line{'s' * (rest > 1)}" if rest else ""))
