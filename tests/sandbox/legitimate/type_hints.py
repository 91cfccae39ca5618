# /// program
# prints = "{'a': [1]}"
# ///
from typing import Dict, Generic, List, NamedTuple, Optional, TypeVar, get_type_hints

T = TypeVar("T")


class Box(Generic[T]):
    value: Optional[T] = None


class Point(NamedTuple):
    x: int


def f(x: int) -> Dict[str, List[int]]:
    return {"a": [x]}


get_type_hints(f)
print(f(Point(1).x))
