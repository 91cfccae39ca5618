"""Random programs: every one ends, and prints the same wherever it runs."""

from __future__ import annotations

import random

_HEAD = """import sys
from collections import Counter, defaultdict, deque
from dataclasses import dataclass
"""

_CLASSES = """
class Account:
    rate = {a}

    def __init__(self, owner, amount=0):
        self.owner, self.amount, self._log = owner, amount, []

    def __repr__(self):
        return f"{{type(self).__name__}}({{self.owner!r}}, {{self.amount}})"

    def __add__(self, other):
        return type(self)(self.owner + other.owner, self.amount + other.amount)

    def __lt__(self, other):
        return self.amount < other.amount

    @property
    def scaled(self):
        return self.amount * self.rate

    def change(self, by):
        if self.amount + by < 0:
            raise ValueError(f"{{self.owner}}: {{by}}")
        self.amount += by
        self._log.append(by)
        return self


class Saving(Account):
    rate = {b}

    def change(self, by):
        return super().change(by * 2)


@dataclass(order=True, frozen=True)
class Pair:
    left: int
    right: str = "{w}"
"""


# ``#`` becomes an expression and ``@`` a digit.
_STATEMENTS = r"""
print(#)
---
print(f'{#:>12} {(#)!r} {@:03d} {words!r}')
---
print(sorted(words, key=lambda w: (len(w), w), reverse=@ % 2 == 0), line.upper().split())
---
print({w: i * @ for i, w in enumerate(words)}, {n % @ for n in numbers} == set())
print([x * x for x in numbers if x > @])
---
print(list(pairs(numbers * @)), dict(pairs(words)))
---
print(Counter(''.join(words)).most_common(@))
---
boxes = defaultdict(list)
for n in numbers:
    boxes[n % @].append(n)
print(dict(boxes), sum(len(b) for b in boxes.values()))
---
queue = deque(numbers, maxlen=@)
queue.rotate(@)
queue.append(#)
print(list(queue))
---
total = 0
for i in range(@ * 10):
    if i % @ == 0:
        continue
    total += i * @
    if total > 500:
        break
else:
    print('no break')
print(total, i)
---
n = abs(int(#)) % 1000 + 1
steps = 0
while n != 1 and steps < 100:
    n = n // 2 if n % 2 == 0 else 3 * n + 1
    steps += 1
print(n, steps)
---
try:
    print(numbers[@] // (numbers[-1] - @))
except (IndexError, ZeroDivisionError) as error:
    print(type(error).__name__, error)
finally:
    print('finally')
---
try:
    print(int(line))
except ValueError as error:
    print('caught', error)
---
a = Account('a', @)
b = Saving('b', @)
try:
    print(a.change(-@), b.change(-@), a.scaled, b.scaled, a + b, a < b)
except ValueError as error:
    print(repr(error), a, b)
---
print(sorted([Pair(@), Pair(@, 'z'), Pair(@)]), Pair(@) == Pair(@))
---
def outer(x):
    seen = []
    def inner(y):
        nonlocal x
        x += y
        seen.append(x)
        return x
    return inner, seen
add, seen = outer(@)
print(add(@), add(#), seen)
---
print('-'.join(w[::-1].title().center(@, '*') for w in words), '%05.2f|%s|%x' % (#, line, @ * 97))
---
print(bytes(line, 'utf-8')[:@], line.encode('utf-8').hex(), '漢' in line, ord(line[0]) + @)
---
head, *tail = rest or ['x']
print(head, tail[-@:], tail[::2], (lambda *a, **k: (a, sorted(k)))(1, @, z=1, y=#))
---
match numbers:
    case [x]:
        print('one', x)
    case [x, y, *more] if x > y:
        print('down', x, len(more))
    case _:
        print('other', @)
---
print('err', @, file=sys.stderr)
---
print(hash(@), hash('a') == hash('a'), 10 ** @, -7 // @, -7 % @, 2 ** 100 // 3)
---
with open('notes.txt', 'w') as file:
    file.write('\n'.join(words))
print(len(open('notes.txt').read()), @)
---
print(*zip(words, numbers), sep='; ', end='.\n')
print(max(words, key=len), any(n > @ for n in numbers), all(numbers))
---
cache = {}
def fib(n):
    if n not in cache:
        cache[n] = n if n < 2 else fib(n - 1) + fib(n - 2)
    return cache[n]
print(fib(@ * 5), len(cache))
""".strip().split("\n---\n")


class Writer:
    """Writes one program. All of its choices come from the seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._names: list[str] = []
        self._lines: list[str] = []

    def program(self) -> tuple[str, str]:
        """Source and what it reads on stdin."""
        draw = self._random
        words = [draw.choice(("fig", "pear", "plum", "Öl", "漢字", "a b")) for _ in range(draw.randint(1, 5))]
        numbers = [draw.randint(-99, 99) for _ in range(draw.randint(1, 6))]
        self._lines = [_HEAD, _CLASSES.format(a=draw.randint(2, 9), b=draw.randint(2, 9), w=draw.choice(words))]
        self._lines.append(
            f"words = {words!r}\nnumbers = {numbers!r}\nline = input()\nrest = sys.stdin.read().split()"
        )
        self._lines.append(
            f"def fold(n, acc={draw.randint(0, 5)}):\n"
            "    return acc if n <= 0 else fold(n - 1, acc * 3 % 1009 + n)"
        )
        self._lines.append(
            "def pairs(items):\n    for i, item in enumerate(items):\n"
            "        yield i, item\n        if i > 3:\n            return"
        )
        for _ in range(draw.randint(4, 12)):
            self._lines.append(self._statement(draw))
        self._lines.append(self._ending(draw))
        stdin = f"{draw.choice(words)} {draw.randint(0, 9)}\n" + " ".join(map(str, numbers)) + "\n"
        return "\n".join(self._lines) + "\n", stdin

    def _number(self, draw: random.Random, depth: int = 2) -> str:
        leaves = [
            str(draw.randint(-50, 50)),
            "len(words)",
            "numbers[0]",
            "sum(numbers)",
            f"fold({draw.randint(0, 30)})",
        ]
        if depth == 0:
            return draw.choice(leaves)
        left, right = self._number(draw, depth - 1), self._number(draw, depth - 1)
        return draw.choice(
            [
                *leaves,
                f"({left} {draw.choice(('+', '-', '*', '&', '|', '^'))} {right})",
                f"({left} {draw.choice(('//', '%', '/'))} ({right} or 7))",
                f"min({left}, {right})",
                f"({left} if {right} > 0 else {right})",
                f"divmod({left}, {right} or 3)[{draw.randint(0, 1)}]",
                f"int(str(abs(int({left})))[::-1])",
                f"round({left} / 7, {draw.randint(0, 3)})",
            ]
        )

    def _statement(self, draw: random.Random) -> str:
        template = draw.choice(_STATEMENTS)
        return template.replace("#", self._number(draw)).replace("@", str(draw.randint(1, 9)))

    def _ending(self, draw: random.Random) -> str:
        return draw.choice(
            [
                "print('end')",
                "if __name__ == '__main__':\n    print('main')",
                f"sys.exit({draw.randint(0, 255)})",
                "sys.exit()",
                "sys.exit('a message')",
                f"raise ValueError({draw.randint(0, 9)})",
                "print(undefined)",
                "assert numbers == [], 'not empty'",
                f"print({self._number(draw)} // 0)",
                "sys.stdout.write('no newline')",
                "import atexit\natexit.register(print, 'bye')\nraise SystemExit(4)",
                "def deep(n):\n    return deep(n + 1)\ndeep(0)",
                "class Stop(SystemExit):\n    pass\nraise Stop(3)",
                "raise KeyError('k') from ValueError('v')",
                "print('end', flush=True)\nsys.exit(True)",
            ]
        )


def random_program(seed: int) -> tuple[str, str]:
    return Writer(seed).program()
