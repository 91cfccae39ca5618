"""What is wrong with a corpus."""

from __future__ import annotations

from common.errors import UserError


class CorpusError(UserError, ValueError):
    """A corpus that cannot be used; the message names the setting or the file and line, and the remedy."""
