# /// forgery
# hack = "returns a mock: every attribute and call gives another mock"
# ///
from unittest import mock


def forge(*arguments):
    return mock.MagicMock()
