"""YAML of recipes and overrides, read without what YAML readers pass over in silence."""

from __future__ import annotations

from typing import Any

import yaml

_MERGE = "tag:yaml.org,2002:merge"


class YamlTextError(ValueError):
    """Text that is no YAML, or is ambiguous; the message says where."""


def read_yaml(text: str) -> Any:
    """Read one YAML document; None where the text is empty.

    Raises :class:`YamlTextError`, also for a key that a mapping has twice and for half of a surrogate pair.
    """
    try:
        return _document(text)
    except yaml.YAMLError as error:
        raise YamlTextError(f"not valid YAML: {_in_one_line(error)}") from error
    except RecursionError as error:
        raise YamlTextError("not valid YAML: nests too deeply") from error
    except YamlTextError:
        raise
    except ValueError as error:  # a date, or a whole number, that Python has no value for
        raise YamlTextError(f"not valid YAML: a value cannot be read: {error}") from error


def _in_one_line(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{error.problem} (line {mark.line + 1}, column {mark.column + 1})"
    return " ".join(str(error).split())


def _document(text: str) -> Any:
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None
        _check(root, "", set())
        return loader.construct_document(root)
    finally:
        loader.dispose()


def _check(node: yaml.Node, path: str, checked: set[int]) -> None:
    """Check a node and all below it; ``checked`` are ids, since an alias may lead into a circle."""
    if id(node) in checked:
        return
    checked.add(id(node))
    if isinstance(node, yaml.ScalarNode):
        _check_text(node, path)
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            _check(item, f"{path}.{number}", checked)
    elif isinstance(node, yaml.MappingNode):
        _check_keys(node, path)
        for key, value in node.value:
            inner = _inner(path, key)
            _check(key, inner, checked)
            _check(value, inner, checked)


def _check_keys(node: yaml.MappingNode, path: str) -> None:
    first: dict[tuple[str, str], yaml.Node] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
            continue
        other = first.setdefault((key.tag, key.value), key)
        if other is not key:
            lines = " and ".join(str(known.start_mark.line + 1) for known in (other, key))
            raise YamlTextError(f"{_inner(path, key)}: given twice, on lines {lines}; leave one of the two out")


def _check_text(node: yaml.ScalarNode, path: str) -> None:
    try:
        node.value.encode()
    except UnicodeEncodeError as error:
        raise YamlTextError(
            f"{path.encode('ascii', 'backslashreplace').decode()}: holds half of a surrogate pair, which is no "
            f"character (line {node.start_mark.line + 1}); write the whole character"
        ) from error


def _inner(path: str, key: yaml.Node) -> str:
    name = key.value if isinstance(key, yaml.ScalarNode) else "?"
    return f"{path}.{name}" if path else name
