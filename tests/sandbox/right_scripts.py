"""Right programs, and scripts of tests that use what only objects of another process give them."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass


@dataclass(frozen=True)
class Right:
    """A test script, and right solutions that it takes the ``exports`` from; the first is the reference."""

    name: str
    exports: tuple[str, ...]
    script: str
    solutions: tuple[str, ...]


def _right(name: str, exports: str, script: str, *solutions: str) -> Right:
    return Right(name, tuple(exports.split()), _source(script), tuple(map(_source, solutions)))


def _source(text: str) -> str:
    return textwrap.dedent(text).strip() + "\n"


RIGHT = (
    _right(
        "decimals",
        "f",
        """
        from decimal import Decimal
        assert f() == Decimal('1.5')
        assert f() + 1 == Decimal('2.5')
        """,
        """
        from decimal import Decimal

        def f():
            return Decimal('1.50')
        """,
    ),
    _right(
        "fractions",
        "f",
        """
        from fractions import Fraction
        assert f(Fraction(1, 3)) == Fraction(2, 3)
        """,
        """
        def f(x):
            return x * 2
        """,
    ),
    _right(
        "bytearray",
        "f",
        """
        a = bytearray(b'ab')
        assert f(a) == bytearray(b'abc')
        assert a == b'abc'
        """,
        """
        def f(x):
            x.append(99)
            return x
        """,
    ),
    _right(
        "keys of a dictionary",
        "f",
        """
        assert list(f({'a': 1})) == ['a']
        assert f({'a': 1}) == {'a'}
        assert 'a' in f({'a': 1})
        """,
        """
        def f(d):
            return d.keys()
        """,
    ),
    _right(
        "items of a dictionary",
        "f",
        """
        assert sorted(f({'a': 1})) == [('a', 1)]
        assert len(f({})) == 0
        """,
        """
        def f(d):
            return d.items()
        """,
    ),
    _right(
        "values of a dictionary",
        "f",
        """
        assert sum(f({'a': 1})) == 1
        """,
        """
        def f(d):
            return d.values()
        """,
    ),
    _right(
        "dates",
        "f",
        """
        import datetime
        assert f(datetime.date(2024, 1, 1)) == datetime.date(2024, 1, 2)
        assert f(datetime.datetime(2024, 1, 1, 5)).hour == 5
        """,
        """
        import datetime

        def f(d):
            return d + datetime.timedelta(days=1)
        """,
    ),
    _right(
        "time differences",
        "f",
        """
        import datetime
        assert f() == datetime.timedelta(days=1, seconds=5)
        """,
        """
        import datetime

        def f():
            return datetime.timedelta(days=1, seconds=5)
        """,
    ),
    _right(
        "deques",
        "f",
        """
        from collections import deque
        assert f() == deque([1, 2])
        q = deque([1])
        assert f(q).popleft() == 1
        """,
        """
        from collections import deque

        def f(q=None):
            return q or deque([1, 2])
        """,
    ),
    _right(
        "data classes",
        "P f",
        """
        assert f(1, 2) == P(1, 2)
        assert f(1, 2) != P(1, 3)
        assert P(1, 2) in [f(1, 2)]
        assert f(1, 2).x == 1
        """,
        """
        from dataclasses import dataclass

        @dataclass
        class P:
            x: int
            y: int

        def f(a, b):
            return P(a, b)
        """,
    ),
    _right(
        "data classes in sets",
        "P",
        """
        assert {P(1, 2), P(1, 2)} == {P(1, 2)}
        assert {P(1, 2): 3}[P(1, 2)] == 3
        """,
        """
        from dataclasses import dataclass

        @dataclass(frozen=True)
        class P:
            x: int
            y: int
        """,
    ),
    _right(
        "operators",
        "V",
        """
        v = V(7)
        assert v % 4 == 3
        assert (v // 2).n == 3
        assert (v ** 2).n == 49
        assert (2 * v).n == 14
        w = v
        w += 1
        assert v.n == 8
        assert divmod(v, 3) == (2, 2)
        assert v @ V(2) == 16
        assert round(V(1.234), 1) == 1.2
        assert ~V(1) == -2
        assert f'{V(3):03d}' == '003'
        del v.n
        assert not hasattr(v, 'n')
        assert [5, 6][V(1)] == 6
        assert 2 ** V(3) if False else True
        """,
        """
        class V:

            def __init__(self, n):
                self.n = n

            def __mod__(s, o):
                return s.n % o

            def __floordiv__(s, o):
                return V(s.n // o)

            def __pow__(s, o):
                return V(s.n ** o)

            def __rmul__(s, o):
                return V(s.n * o)

            def __iadd__(s, o):
                s.n += o
                return s

            def __divmod__(s, o):
                return divmod(s.n, o)

            def __matmul__(s, o):
                return s.n * o.n

            def __round__(s, d=0):
                return round(s.n, d)

            def __invert__(s):
                return ~s.n

            def __format__(s, spec):
                return format(s.n, spec)

            def __delattr__(s, k):
                object.__delattr__(s, k)

            def __index__(s):
                return s.n
        """,
    ),
    _right(
        "isinstance",
        "P Q f",
        """
        assert isinstance(f(), P)
        assert isinstance(f(), (int, P))
        assert not isinstance(f(), Q)
        assert issubclass(Q, P)
        assert not isinstance(3, P)
        """,
        """
        class P:
            pass

        class Q(P):
            pass

        def f():
            return P()
        """,
    ),
    _right(
        "exceptions of its own",
        "Bad Worse f",
        """
        try:
            f(1)
            assert False
        except Worse:
            assert False
        except Bad as e:
            assert str(e) == 'bad 1' and e.n == 1 and (e.args == ('bad 1',))
        try:
            f(9)
        except Bad as e:
            assert isinstance(e, Worse) and str(e) == 'worse'
        try:
            f(9)
        except ValueError as e:
            assert e.n == 9
        assert issubclass(Worse, Bad)
        assert f(0) == 0
        """,
        """
        class Bad(Exception):

            def __init__(self, n):
                super().__init__(f'bad {n}')
                self.n = n

        class Worse(Bad, ValueError):

            def __str__(self):
                return 'worse'

        def f(n):
            if n > 5:
                raise Worse(n)
            if n > 0:
                raise Bad(n)
            return n
        """,
    ),
    _right(
        "assertRaises",
        "Bad f",
        """
        import unittest

        class T(unittest.TestCase):

            def test(self):
                with self.assertRaises(Bad) as c:
                    f(2)
                self.assertEqual(c.exception.n, 2)
                self.assertRaises(Bad, f, 3)
                with self.assertRaisesRegex(Bad, 'bad 4'):
                    f(4)
        unittest.TestSuite([T('test')]).debug()
        """,
        """
        class Bad(Exception):

            def __init__(self, n):
                super().__init__(f'bad {n}')
                self.n = n

        class Worse(Bad, ValueError):

            def __str__(self):
                return 'worse'

        def f(n):
            if n > 5:
                raise Worse(n)
            if n > 0:
                raise Bad(n)
            return n
        """,
    ),
    _right(
        "exceptions that are not exported",
        "f",
        """
        try:
            f(1)
            assert False
        except Exception as e:
            assert str(e) == 'bad 1'
            assert type(e).__name__ == 'Bad'
        """,
        """
        class Bad(Exception):

            def __init__(self, n):
                super().__init__(f'bad {n}')
                self.n = n

        class Worse(Bad, ValueError):

            def __str__(self):
                return 'worse'

        def f(n):
            if n > 5:
                raise Worse(n)
            if n > 0:
                raise Bad(n)
            return n
        """,
    ),
    _right(
        "exceptions that a callback raises",
        "Bad f g",
        """
        def cb():
            raise Bad(7)
        assert g(cb) == 7
        """,
        """
        class Bad(Exception):

            def __init__(self, n):
                super().__init__(f'bad {n}')
                self.n = n

        class Worse(Bad, ValueError):

            def __str__(self):
                return 'worse'

        def f(n):
            if n > 5:
                raise Worse(n)
            if n > 0:
                raise Bad(n)
            return n

        def g(cb):
            try:
                cb()
            except Bad as e:
                return e.n
        """,
    ),
    _right(
        "callbacks",
        "f app comp tot",
        """
        import math, operator
        assert f([1, -5, 3], key=abs) == -5
        assert f([1, -5, 3], key=lambda x: -x) == -5
        assert app(operator.add, 1, 2) == 3
        assert app(math.sqrt, 4) == 2
        assert app(str.upper, 'a') == 'A'
        assert app(int, '3') == 3
        assert comp(lambda x: x + 1, str)(3) == '4'
        seen = []
        app(seen.append, 3)
        assert seen == [3]
        assert tot((x * x for x in range(4))) == 14
        assert tot(iter([1, 2])) == 3

        def bad():
            raise KeyError('k')
        try:
            app(bad)
            assert False
        except KeyError as e:
            assert e.args == ('k',)

        def nested(x):
            return app(lambda y: y * 2, x)
        assert app(nested, 4) == 8
        from unittest.mock import Mock
        m = Mock(return_value=4)
        assert app(m, 1, a=2) == 4
        m.assert_called_once_with(1, a=2)
        assert app(dict.fromkeys, [1]) == {1: None}
        """,
        """
        def f(xs, key=None):
            return max(xs, key=key)

        def app(g, *a, **k):
            return g(*a, **k)

        def comp(*fs):

            def inner(x):
                for g in fs:
                    x = g(x)
                return x
            return inner

        def tot(it):
            return sum(it)
        """,
    ),
    _right(
        "decorator",
        "deco memo",
        """
        @deco
        def g(x):
            return x + 1
        assert g(3) == 8
        count = []

        @memo
        def h(x):
            count.append(x)
            return x
        assert h(1) == 1 and h(1) == 1 and (count == [1])
        assert g.__name__ == 'g' and deco.__doc__ == 'Doubles.' and memo.__doc__ is None
        """,
        """
        import functools

        def deco(f):
            '''Doubles.'''

            @functools.wraps(f)
            def w(*a):
                return f(*a) * 2
            return w

        def memo(f):
            return functools.lru_cache(None)(f)
        """,
    ),
    _right(
        "a function of the test comes back",
        "reg",
        """
        @reg
        def g(x):
            return x
        assert g(2) == 2
        """,
        """
        def reg(f):
            return f
        """,
    ),
    _right(
        "captured output",
        "f",
        r"""
        import io, contextlib, sys
        b = io.StringIO()
        with contextlib.redirect_stdout(b):
            f('hi')
        assert b.getvalue() == 'hi\n'
        old = sys.stdout
        sys.stdout = io.StringIO()
        f('yo')
        text = sys.stdout.getvalue()
        sys.stdout = old
        assert text == 'yo\n'
        from unittest.mock import patch
        with patch('sys.stdout', new_callable=io.StringIO) as out:
            f('z')
            assert out.getvalue() == 'z\n'
        """,
        """
        def f(x):
            print(x)
        """,
    ),
    _right(
        "changes by keyword",
        "f",
        """
        a = [3, 1]
        f(numbers=a)
        assert a == [1, 3]
        d = {}
        f(numbers=[], into=d)
        assert d == {'n': 0}
        """,
        """
        def f(numbers, into=None):
            numbers.sort()
            if into is not None:
                into['n'] = len(numbers)
        """,
    ),
    _right(
        "an attribute is the whole call",
        "cfg Color",
        """
        assert cfg.debug is False
        """,
        """
        class C:
            debug = False
        cfg = C()

        class Color:
            RED = 3
        """,
    ),
    _right(
        "an attribute of a class",
        "Color",
        """
        assert Color.RED == 3
        """,
        """
        class Color:
            RED = 3
        """,
    ),
    _right(
        "enum",
        "Color",
        """
        assert Color.RED.value == 3
        assert Color.RED is not None
        assert Color.RED == Color.RED
        assert Color(3) == Color.RED
        assert Color['RED'] == Color.RED
        """,
        """
        import enum

        class Color(enum.Enum):
            RED = 3
        """,
    ),
    _right(
        "items of growing cost",
        "g",
        """
        it = g()
        assert [next(it) for _ in range(4)] == [0, 1, 2, 3]
        import itertools
        assert list(itertools.islice(g(), 5)) == [0, 1, 2, 3, 4]
        """,
        """
        def g():
            n = 0
            while True:
                yield n
                n += 1
                for _ in range(30 ** n):
                    pass
        """,
    ),
    _right(
        "iterator class",
        "It",
        """
        assert list(It(3)) == [0, 1, 2]
        i = It(2)
        assert next(i) == 0
        assert next(i) == 1
        try:
            next(i)
            assert False
        except StopIteration:
            pass
        assert i.n == 2
        """,
        """
        class It:

            def __init__(s, n):
                s.n = n
                s.i = 0

            def __iter__(s):
                return s

            def __next__(s):
                if s.i >= s.n:
                    raise StopIteration
                s.i += 1
                return s.i - 1
        """,
    ),
    _right(
        "generator error",
        "g",
        """
        it = g()
        assert next(it) == 1
        try:
            next(it)
            assert False
        except ValueError as e:
            assert str(e) == 'no'
        assert list(it) == []
        """,
        """
        def g():
            yield 1
            raise ValueError('no')
        """,
    ),
    _right(
        "context managers",
        "Ctx",
        """
        with Ctx(ZeroDivisionError) as c:
            c.log.append(1) if False else None
            1 / 0
        assert c.seen == 'ZeroDivisionError'
        try:
            with Ctx(KeyError):
                1 / 0
            assert False
        except ZeroDivisionError:
            pass
        """,
        """
        class Ctx:

            def __init__(s, k):
                s.k = k
                s.seen = None
                s.log = []

            def __enter__(s):
                return s

            def __exit__(s, t, e, tb):
                s.seen = t and t.__name__
                return t is not None and issubclass(t, s.k)
        """,
    ),
    _right(
        "large sets and dictionaries",
        "f h",
        """
        assert f(12000) == set(range(12000))
        assert len(h(5001)) == 5001
        """,
        """
        def f(n):
            return set(range(n))

        def h(n):
            return {i: i for i in range(n)}
        """,
    ),
    _right(
        "chains of objects",
        "N",
        """
        a = N(1, N(2, N(3)))
        out = []
        while a:
            out.append(a.v)
            a = a.next
        assert out == [1, 2, 3]
        """,
        """
        class N:

            def __init__(s, v, n=None):
                s.v = v
                s.next = n
        """,
    ),
    _right(
        "chaining",
        "B",
        """
        assert B().add(1).add(2).done() == [1, 2]
        """,
        """
        class B:

            def __init__(s):
                s.x = []

            def add(s, v):
                s.x.append(v)
                return s

            def done(s):
                return s.x
        """,
    ),
    _right(
        "changes what nobody looks at",
        "f",
        """
        assert f([3, 1, 2]) == [1, 2, 3]
        x = [2, 1]
        assert f(x) == [1, 2]
        """,
        """
        def f(x):
            return sorted(x)
        """,
        """
        def f(x):
            x.sort()
            return x
        """,
    ),
    _right(
        "answers with more objects",
        "S",
        """
        s = S()
        s.push(1)
        assert s.pop() == 1
        """,
        """
        class S:

            def __init__(s):
                s.x = []

            def push(s, v):
                s.x.append(v)

            def pop(s):
                return s.x.pop()
        """,
        """
        class S:

            def __init__(s):
                s.x = []

            def push(s, v):
                s.x.append(v)
                return s

            def pop(s):
                return s.x.pop()
        """,
    ),
    _right(
        "a generator for a list",
        "f",
        """
        assert list(f(3)) == [0, 1, 2]
        assert sum(f(3)) == 3
        for x in f(2):
            assert x < 2
        """,
        """
        def f(n):
            return list(range(n))
        """,
        """
        def f(n):
            for i in range(n):
                yield i
        """,
    ),
    _right(
        "threads",
        "Counter",
        """
        import threading
        c = Counter()
        ts = [threading.Thread(target=c.inc) for _ in range(8)]
        for t in ts:
            t.start()
        for t in ts:
            t.join()
        assert c.n == 8
        """,
        """
        class Counter:

            def __init__(s):
                s.n = 0

            def inc(s):
                s.n += 1
        """,
    ),
    _right(
        "counters and named tuples",
        "count place Place",
        """
        found = count("abca")
        assert found.most_common(1) == [("a", 2)]
        assert found["z"] == 0 and found == {"a": 2, "b": 1, "c": 1}
        assert sorted((found + found).elements()) == list("aaaabbcc")
        from collections import Counter
        assert count(Counter("aab")) == Counter("ab")
        at = place(3, 4)
        assert (at.x, at.y) == at == (3, 4) and at._fields == ("x", "y")
        assert at._replace(x=0) == (0, 4) and repr(at) == "Place(x=3, y=4)"
        x, y = Place(1, y=2)
        assert [one.y for one in [Place(1, 2), at]] == [2, 4]
        """,
        """
        from collections import Counter, namedtuple
        Place = namedtuple("Place", "x y")

        def count(text):
            return Counter(text.keys() if isinstance(text, Counter) else text)

        def place(x, y):
            return Place(x, y)
        """,
    ),
    _right(
        "parses answers",
        "f",
        """
        import ast
        assert ast.literal_eval(f()) == [1]
        import json
        assert json.loads(f()) == [1]
        """,
        """
        def f():
            return '[1]'
        """,
    ),
    _right(
        "raises something, where anything will do",
        "f Stack LIMIT",
        """
        import unittest
        class Tests(unittest.TestCase):
            def test(self):
                with self.assertRaises(Exception):
                    f(None)
                with self.assertRaises(LookupError):
                    Stack()[LIMIT]
                self.assertFalse(hasattr(Stack(), 'size'))
                self.assertEqual([*Stack()], [])
        unittest.TestSuite([Tests('test')]).debug()
        """,
        """
        LIMIT = 3

        def f(x):
            raise ValueError(x)

        class Stack:
            def __getitem__(self, i):
                return ()[i]
        """,
        """
        LIMIT = 3.0 + 0

        def f(x):
            return x[0]

        class Stack:
            def __getitem__(self, i):
                raise KeyError(i) if i else IndexError(i)
        """,
        """
        LIMIT = int('3')

        def f(x):
            return x.size

        class Stack:
            def __getitem__(self, i):
                return [][i]
        """,
    ),
    _right(
        "tables",
        "NAMES SIZES f",
        """
        assert all(f(name) == SIZES[name] for name in NAMES)
        """,
        """
        NAMES = {'a', 'bb', 'ccc', 'dddd'}
        SIZES = {name: len(name) for name in NAMES}
        f = len
        """,
        """
        SIZES = dict(dddd=4, ccc=3, bb=2.0, a=True)
        NAMES = {*SIZES}
        f = SIZES.get
        """,
    ),
    _right(
        "nothing in other shapes",
        "f g h total",
        """
        assert list(f()) == [] and len(g()) == 0 and not h()
        x = [1, 2]
        assert total(x) == 3 and total([]) == 0
        """,
        """
        class Items:
            def __len__(self):
                return 0

        def f():
            yield from ()

        g, h, total = Items, lambda: None, sum
        """,
        """
        def f():
            return []

        def g():
            return ''

        def h():
            return {}

        def total(x):
            result = 0
            while x:
                result += x.pop()
            return result
        """,
    ),
)
