"""Values that name an environment variable instead of being written down: ``env:NAME``."""

from __future__ import annotations

import os
import re

from common.config.base import ConfigError

_PREFIX = "env:"


def names_variable(text: str) -> bool:
    return text.startswith(_PREFIX)


def check_reference(text: str) -> str:
    """Return ``text`` itself. Raises ValueError for an ``env:`` without the name of a variable."""
    if names_variable(text) and not re.fullmatch(r"[A-Za-z_]\w*", text.removeprefix(_PREFIX), re.ASCII):
        raise ValueError("name an environment variable after env:, such as env:REDIS_URL")
    return text


def from_environment(field: str, text: str) -> str:
    """Resolve ``text``: itself, or the value of the variable NAME. Raises ConfigError naming ``field``."""
    if not names_variable(text):
        return text
    name = text.removeprefix(_PREFIX)
    value = os.environ.get(name, "").strip()
    if not value:
        raise ConfigError(f"{field} {text}: the environment variable {name or 'NAME'} is not set here; set it")
    return value
