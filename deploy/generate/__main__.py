"""``python -m deploy.generate`` writes every generated file; ``--check`` only names those that it would change."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import deploy.generate

ROOT = Path(__file__).resolve().parents[2]


def generated() -> dict[Path, str]:
    """All generated files: path in the repository -> text. Raises ValueError if two modules write the same one."""
    texts: dict[Path, str] = {}
    for module in iter_modules(deploy.generate.__path__):
        if module.name == "__main__":
            continue
        files = getattr(import_module(f"deploy.generate.{module.name}"), "files", None)
        for path, text in files().items() if files else ():
            if path in texts:
                raise ValueError(f"{path} is written by two modules, one of them deploy.generate.{module.name}")
            texts[path] = text
    return texts


def outdated() -> dict[Path, str]:
    """Those whose committed file differs or is missing."""

    def differs(path: Path, text: str) -> bool:
        file = ROOT / path
        return not file.exists() or file.read_text(encoding="utf-8") != text

    return {path: text for path, text in generated().items() if differs(path, text)}


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        sys.stderr.write("usage: python -m deploy.generate [--check]\n")
        return 2
    found = outdated()
    for path, text in found.items():
        sys.stdout.write(f"{path}\n")
        if not arguments:
            (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / path).write_text(text, encoding="utf-8")
    return 1 if arguments and found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
