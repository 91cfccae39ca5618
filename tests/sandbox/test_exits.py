"""What scripts leave to the interpreter at their end happens as under plain Python: random programs, in both."""

from __future__ import annotations

import os
import random
import subprocess
import sys

from sandbox.jail.backend import JailSandbox
from sandbox.types import Case, Limits, Program

PROGRAMS = 25
DEADLINE_S = 60
HEAD = """
import atexit, functools, io, sys, weakref
from typing import *
class Left(set): pass
LEFT = Left([1, 2])
class Noisy:
    def __init__(self, name): self.name = name
    def __del__(self): print('deleted', self.name, len(LEFT))
"""
PIECES = (
    "a{n} = Noisy('global {n}')",
    "_b{n} = Noisy('underscore {n}')",
    "c{n} = [Noisy('item {n}'), Noisy('other item {n}')]",
    "d{n} = Noisy('cycle {n}'); d{n}.itself = d{n}",
    "def e{n}():\n    try:\n        yield 1\n    finally:\n        print('closed {n}')\nf{n} = e{n}(); next(f{n})",
    "def g{n}(x=Noisy('default {n}')): return x",
    "class H{n}:\n    attribute = Noisy('attribute {n}')",
    "def i{n}():\n    hidden = Noisy('cell {n}')\n    return lambda: hidden\nj{n} = i{n}()",
    "atexit.register(print, 'hook {n}')",
    "k{n} = open(1, 'w', closefd=False); k{n}.write('unflushed {n}\\n')",
    "l{n} = Noisy('gone {n}'); del l{n}",
    "m{n}: List[Noisy] = []",
    "n{n} = Noisy('watched {n}'); o{n} = weakref.ref(n{n}, lambda _: print('dead {n}'))",
    "p{n} = weakref.finalize(LEFT, print, 'finalizer {n}')",
    "@functools.lru_cache\ndef q{n}(x): return Noisy('cached {n}')\nq{n}(1)",
    "print('line {n}')",
)
ENDS = (
    "",
    "sys.exit(0)",
    "sys.exit(3)",
    "raise ValueError('x')",
    "exit()",
    "sys.stdout = open(1, 'w', closefd=False); print('to another')",
    "sys.stdout = io.StringIO(); print('to nobody')",
    "sys.stdout.close()",
)


def test_what_is_left_at_the_end_is_finalized_as_under_plain_python() -> None:
    python = [os.path.realpath(sys.executable), "-I", "-c"]
    with JailSandbox() as sandbox:
        for seed in range(PROGRAMS):
            draw = random.Random(seed)
            pieces = draw.choices(PIECES, k=draw.randint(1, 6))
            body = "\n".join(piece.format(n=number) for number, piece in enumerate(pieces))
            source = f"{HEAD}{body}\n{draw.choice(ENDS)}\n"
            plain = subprocess.run([*python, source], capture_output=True, timeout=DEADLINE_S, check=False)
            # One input, and several, which run in forks of a process that compiles the program for them.
            inputs = tuple(Case(str(index), "stdin") for index in range(2))
            runs = [run for cases in (inputs[:1], inputs) for run in sandbox.run(Program(source, cases), Limits())]
            found = {(run.stdout.decode(), run.exit_code) for run in runs}
            assert found == {(plain.stdout.decode(), plain.returncode)}, source
