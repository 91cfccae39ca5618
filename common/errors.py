"""The kinds of error whose message is for the user. Any other error is a bug and shows its traceback."""

from __future__ import annotations


class UserError(Exception):
    """Something that the user can mend before starting again; the message names it and says how."""


class NotHereError(UserError):
    """Something that is not on this machine, and may be where a run starts; the message names it."""


class RunFailedError(Exception):
    """Something that a run met on its way and cannot go on with, though its input was good."""
