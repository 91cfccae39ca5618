"""Programs in JavaScript: they work, and the walls that hold Python hold them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from sandbox.inside import values
from sandbox.types import Case, CaseRun, Limits, Outcome, Program
from tests.sandbox import levels, node

LIMITS = Limits(cpu_s=5, wall_s=60)
SHORT = Limits(cpu_s=0.5, wall_s=20)

Run = Callable[..., CaseRun]


@pytest.fixture(params=levels.NAMES)
def run(request: pytest.FixtureRequest, backend_at: Callable[[str], levels.Backend]) -> Run:
    backend = backend_at(request.param)
    node.require_at(backend)

    def one(source: str, stdin: str = "", collected: Sequence[str] = ()) -> CaseRun:
        case = Case("0", "stdin", stdin=stdin, files={"given.txt": "given"}, collected=tuple(collected))
        (done,) = backend.sandbox.run(Program(source, (case,), language="javascript"), LIMITS)
        return done

    return one


HONEST = """
const fs = require('fs');
const input = fs.readFileSync(0, 'utf8').trim().split(/\\s+/).map(BigInt);
const again = fs.readFileSync('/dev/stdin', 'utf8').length;
console.log(String(input.reduce((a, b) => a + b, 0n)), again);
console.log(fs.readFileSync('given.txt', 'utf8'), process.argv[1].split('/').pop(), typeof WebAssembly);
const depth = n => n === 0 ? 0 : 1 + depth(n - 1);
console.log(depth(5000), [3, 1, 2].sort(), Math.random() < 1);
setTimeout(() => Promise.resolve('later').then(console.log), 5);
"""
NEEDED = "var fs = require('fs'); fs."
LINES = """
const lines = [];
require('readline').createInterface({input: process.stdin})
    .on('line', line => lines.push(line))
    .on('close', () => process.stdout.write(lines.map(Number).map(x => x * 2).join(' ')));
"""
ATTACKS = """
const fs = require('fs'), net = require('net'), child = require('child_process');
const tried = {};
const attempt = (name, action) => {
    try { tried[name] = action(); } catch (error) { tried[name] = 'refused'; }
};
attempt('spawn', () => child.spawnSync(process.execPath, ['-e', '0']).error ? 'refused' : 'done');
attempt('shell', () => child.execSync('id').toString());
attempt('fork', () => child.spawnSync('/proc/self/exe', ['-e', '0']).error ? 'refused' : 'done');
for (const path of ['/etc/passwd', '/etc/shadow', '/root/.ssh', '/proc/kcore', '/couplet_secret'])
    attempt(path, () => fs.statSync(path).isDirectory() ? fs.readdirSync(path) : fs.readFileSync(path).length);
for (const path of ['/escaped', '/usr/lib/escaped', '/dev/escaped', '/couplet/escaped'])
    attempt(path, () => fs.writeFileSync(path, 'x'));
attempt('kill', () => { process.kill(-1, 'SIGKILL'); process.kill(process.ppid, 'SIGKILL'); return 'done'; });
attempt('setuid', () => process.setuid(0) || process.getuid() === 0 && process.setuid(1));
attempt('addon', () => { fs.writeFileSync('a.node', 'x'); process.dlopen({exports: {}}, '/tmp/a.node'); });
attempt('result pipe', () => fs.writeSync(3, 'x'));
const holds = fd => {
    try { return fs.readlinkSync('/proc/self/fd/' + fd).endsWith('/node'); } catch { return false; }
};
attempt('gap', () => fs.readdirSync('/proc/self/fd').some(holds) ? 'open' : 'refused');
const done = [];
const wait = (name, emitter) => new Promise(resolve => {
    emitter.on('error', () => resolve(name + ' refused'));
    emitter.on('connect', () => resolve(name + ' done'));
    emitter.on('listening', () => resolve(name + ' done'));
});
Promise.all([
    wait('connect', net.connect(80, '127.0.0.1')),
    wait('listen', net.createServer().listen(0)),
    wait('unix', net.connect('/var/run/docker.sock')),
]).then(found => {
    const open = Object.entries(tried).filter(([name, what]) => what !== 'refused' && what !== undefined);
    console.log(JSON.stringify(open), found.filter(each => !each.endsWith('refused')).length);
    process.exit(0);
});
"""


def test_honest_programs(run: Run) -> None:
    done = run(HONEST, "1 2 9007199254740993\n")
    assert done.stdout.decode().splitlines() == [
        "9007199254740996 21",
        "given solution.js object",
        "5000 [ 1, 2, 3 ] true",
        "later",
    ], done
    assert (done.outcome, done.exit_code) == (Outcome.OK, 0)
    assert run(LINES, "4\n5").stdout == b"8 10"


@pytest.mark.parametrize(
    ("source", "left"),
    [
        (
            "'use strict';\nfs.mkdirSync('out'); fs.writeFileSync('out/a', 'é'); fs.writeFileSync('b', '')",
            ["é", ""],
        ),
        ("fs.writeFileSync('b', 'x'); process.chdir('..'); process.exit(0)", [None, "x"]),
        ("fs.writeFileSync('b', 'x'); setTimeout(() => fs.writeFileSync('b', 'later'), 5)", [None, "later"]),
        ("fs.mkdirSync('b')", [None, None]),
    ],
)
def test_files_that_a_program_leaves(run: Run, source: str, left: list[str | None]) -> None:
    done = run(f"{source.replace('fs.', NEEDED, 1)}", collected=("out/a", "b"))
    assert done.outcome is Outcome.OK, done
    assert values.decode(done.files or b"") == [None if text is None else text.encode() for text in left]


def test_luck_decides_nothing(run: Run) -> None:
    assert run("console.log(Math.random())").stdout == run("console.log(Math.random())").stdout


@pytest.mark.parametrize(
    ("source", "outcome"),
    [
        ("process.exit(3)", Outcome.ERROR),
        ("throw new Error('x')", Outcome.ERROR),
        ("let", Outcome.ERROR),
        ("for (;;);", Outcome.TIMEOUT),
        ("process.on('SIGTERM', () => 0); setInterval(() => { for (;;); }, 0)", Outcome.TIMEOUT),
        ("const all = []; for (;;) all.push(new Array(1e5).fill(all.length))", Outcome.MEMORY),
        ("const all = []; for (;;) { all.push(Buffer.alloc(1 << 24, 1)); }", Outcome.MEMORY),
        ("for (;;) require('fs').writeSync(1, 'x'.repeat(65536))", Outcome.OUTPUT),
        ("process.abort()", Outcome.CRASH),
    ],
)
def test_other_ends(backend_at: Callable[[str], levels.Backend], source: str, outcome: Outcome) -> None:
    backend = backend_at(levels.STRONGEST)
    node.require_at(backend)
    program = Program(source, (Case("0", "stdin"),), language="javascript")
    (done,) = backend.sandbox.run(program, SHORT if outcome is Outcome.TIMEOUT else Limits(5, 60, memory_mb=128))
    assert done.outcome is outcome, done


def test_attacks(run: Run) -> None:
    done = run(ATTACKS)
    assert done.stdout.decode() == "[] 0\n", done
    assert run("console.log(1)").stdout == b"1\n"


def test_programs_in_python_do_not_get_the_gap(backend_at: Callable[[str], levels.Backend]) -> None:
    source = """
import ctypes, os
def execute():
    libc, empty = ctypes.CDLL(None, use_errno=True), (ctypes.c_char_p * 1)(None)
    found = []
    for path in ("/usr/bin/node", "/usr/local/bin/node", os.path.realpath(os.sys.executable)):
        try:
            fd = os.open(path, os.O_RDONLY)
        except OSError:
            continue
        os.dup2(fd, 4)
        for number in (322, 281, 59, 221):
            found.append(libc.syscall(number, 4, b"", empty, empty, 0x1000))
    return set(found) - {-1}
"""
    (done,) = backend_at(levels.STRONGEST).sandbox.run(Program(source, (Case("0", call="execute()"),)), Limits())
    assert (done.outcome, done.value) == (Outcome.OK, b'["s"]')


def test_where_nothing_runs_a_language_that_is_said(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    with levels.opened(levels.STRONGEST, request) as backend:
        assert backend.sandbox.describe()["languages"] == ["python"]
        program = Program("1", (Case("0", "stdin"),), language="javascript")
        (done,) = backend.sandbox.run(program, Limits())
    assert done.outcome is Outcome.INFRA
    assert "nothing here runs javascript" in done.note
