"""Bodies that are all wrong cost the service no more than their first mistake."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from reward_service.http.models import GroupRequest, ScoreRequest

_TASK = {"id": "t", "prompt": "p", "tests": [{"call": "f()", "expected": "1"}]}
_MANY = 1000


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (ScoreRequest, {"groups": [1] * _MANY}),
        (GroupRequest, {"id": "g", "task": _TASK, "completions": [1] * _MANY}),
        (GroupRequest, {"id": "g", "task": _TASK, "completions": ["x"], "decodings": [1] * _MANY}),
    ],
    ids=["groups", "completions", "decodings"],
)
def test_a_list_is_refused_at_its_first_bad_item(model: Any, body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        model.model_validate(body)
    assert refused.value.error_count() == 1
