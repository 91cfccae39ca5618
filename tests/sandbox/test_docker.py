"""The docker backend on a real engine of the tests' own."""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import APIError

from sandbox.docker import interpreter_image, owner
from sandbox.docker.backend import DockerSandbox
from sandbox.docker.engine import connect
from sandbox.docker.image import ensure_image
from sandbox.docker.slot import DockerSlot, StreamDecoder
from sandbox.inside import values
from sandbox.languages import node_program
from sandbox.link import SlotError
from sandbox.types import Case, CaseRun, Limits, Outcome, Program, SandboxUnavailable
from tests.sandbox import engine

SHORT = Limits(cpu_s=0.3, wall_s=20.0)
DEADLINE_S = 60
DOCKERFILE = Path(__file__).resolve().parents[2] / "deploy/sandbox/Dockerfile"


@pytest.fixture(scope="module")
def sandbox(docker_url: str) -> Iterator[DockerSandbox]:
    with DockerSandbox(2, base_url=docker_url) as shared:
        yield shared


@pytest.fixture(scope="module")
def client(docker_url: str) -> Iterator[Any]:
    connected = docker.DockerClient(base_url=docker_url, version="auto")
    yield connected
    connected.close()


def calls(source: str, *expressions: str) -> Program:
    return Program(source, tuple(Case(str(i), "call", call=text) for i, text in enumerate(expressions)))


def answers(runs: list[CaseRun]) -> list[object]:
    return [values.decode(run.value or b"") if run.outcome is Outcome.OK else run.outcome for run in runs]


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def live_slot(sandbox: DockerSandbox) -> DockerSlot:
    sandbox.run(calls("", "1"), Limits())
    return next(slot for slot in sandbox.live_slots() if isinstance(slot, DockerSlot))


def names(client: Any) -> set[str]:
    # One that is being removed has lost its name.
    return {name.lstrip("/") for found in client.api.containers(all=True) for name in found["Names"]}


def tree(*paths: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in paths:
            archive.addfile(tarfile.TarInfo(path))
    return buffer.getvalue()


def frame(source: int, data: bytes) -> bytes:
    return struct.pack(">BxxxI", source, len(data)) + data


@pytest.mark.parametrize("cut", [1, 3, 7, 1000])
def test_stream_headers_come_off_however_the_bytes_are_cut(cut: int) -> None:
    stream = frame(1, b"hello ") + frame(2, b"oops") + frame(1, b"") + frame(1, b"world" * 20)
    decoder = StreamDecoder()
    parts = [decoder(stream[start : start + cut]) for start in range(0, len(stream), cut)]
    assert b"".join(parts) == b"hello " + b"world" * 20
    assert decoder.errors == b"oops"


def test_a_stream_that_is_not_the_engines_is_refused_and_errors_are_bounded() -> None:
    with pytest.raises(SlotError, match="malformed stream"):
        StreamDecoder()(b"HTTP/1.1 500 Internal")
    decoder = StreamDecoder()
    assert decoder(frame(2, b"x" * 100_000) + frame(2, b"last line")) == b""
    assert len(decoder.errors) < 10_000
    assert decoder.errors.endswith(b"last line")


def test_only_a_dead_owners_container_is_an_orphan() -> None:
    ours = owner.labels()
    assert not owner.is_orphan(ours, "running")
    assert owner.is_orphan(ours | {"couplet.started": "1"}, "running")
    with subprocess.Popen(["true"]) as ended:
        pass
    assert owner.is_orphan(ours | {"couplet.pid": str(ended.pid)}, "created")
    for elsewhere in ({"couplet.boot": "another"}, {"couplet.pid-namespace": "pid:[1]"}):
        assert not owner.is_orphan(ours | elsewhere, "running")
        assert owner.is_orphan(ours | elsewhere, "exited")


def test_the_interpreters_file_system_has_no_tools_and_no_packages() -> None:
    buffer = io.BytesIO()
    interpreter_image.write(buffer, node_program())
    buffer.seek(0)
    with tarfile.open(fileobj=buffer) as archive:
        members = {member.name: member for member in archive.getmembers()}
    programs = {name for name, member in members.items() if member.mode & 0o111 and "/bin/" in f"/{name}"}
    assert {os.path.basename(name) for name in programs if members[name].isfile()} == {
        os.path.basename(interpreter_image.interpreter()),
        *(["node"] if node_program() else []),
    }
    assert not [name for name in members if "site-packages" in name or "dist-packages" in name]
    assert members["tmp"].mode == 0o1777
    assert {member.mode for name, member in members.items() if member.isdir() and name != "tmp"} == {0o755}
    assert not [name for name, member in members.items() if member.mode & 0o6000]


def test_values_come_back(sandbox: DockerSandbox) -> None:
    runs = sandbox.run(calls("def f(x): return x", "f(None)", "f((1, 'é', b'x'))", "f(10**5000)"), Limits())
    assert answers(runs) == [None, (1, "é", b"x"), 10**5000]


def test_input_and_output_pass_in_full(sandbox: DockerSandbox) -> None:
    program = Program(
        "s = input()\nprint(len(s))\nprint(s[:500000])", (Case("0", "stdin", stdin="é" * 2_000_000),)
    )
    (run,) = sandbox.run(program, Limits(out_bytes=2 << 20))
    assert run.stdout.decode() == f"2000000\n{'é' * 500_000}\n"


def test_a_bad_case_leaves_the_others_alone(sandbox: DockerSandbox) -> None:
    source = """
import os
def f(x):
    if x == 1: os._exit(0)
    if x == 2:
        while True: pass
    if x == 3: return [0] * 10**12
    if x == 4: raise ValueError('four')
    if x == 5: os.abort()
    return x
"""
    before = sandbox.describe()["slot_restarts"]
    runs = sandbox.run(calls(source, *(f"f({i})" for i in range(7))), SHORT)
    expected = [0, Outcome.ERROR, Outcome.TIMEOUT, Outcome.MEMORY, Outcome.ERROR, Outcome.CRASH, 6]
    assert answers(runs) == expected
    assert sandbox.describe()["slot_restarts"] == before


def test_callers_share_the_slots(sandbox: DockerSandbox) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: answers(sandbox.run(calls("", f"{i} * 2"), Limits())), range(40)))
    assert found == [[i * 2] for i in range(40)]


def test_nothing_stays_for_the_next_program(docker_url: str) -> None:
    leave = """
import os, threading, time
os.makedirs('/tmp/a/b')
open('/tmp/a/b/file', 'w').write('secret')
os.symlink('/', '/tmp/link')
os.chmod('/tmp/a', 0)
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
"""
    look = "import os\nprint(os.listdir('/tmp'), os.listdir('.'))"
    with DockerSandbox(1, base_url=docker_url) as alone:
        for _ in range(3):
            (left,) = alone.run(Program(leave, (Case("0", "stdin"),)), Limits())
            (seen,) = alone.run(Program(look, (Case("0", "stdin"),)), Limits())
            assert (left.outcome, seen.stdout) == (Outcome.OK, b"[] []\n")
        assert alone.describe()["slot_restarts"] == 0


def test_tests_and_solution_are_apart(sandbox: DockerSandbox) -> None:
    scripts = ["assert f(1) == 2", "assert f(1) == 3", "open('/tmp/x', 'w')", "import os; os.listdir('/tmp')"]
    cases = tuple(Case(str(i), "script", script=script) for i, script in enumerate(scripts))
    runs = sandbox.run(Program("def f(x): return x + 1", cases, exports=("f",)), Limits())
    passed, failed = answers(runs[:2])
    assert isinstance(passed, tuple)
    assert isinstance(failed, tuple)
    assert (passed[0], failed[0]) == (True, False)
    assert answers(runs[2:]) == [Outcome.ERROR, Outcome.ERROR]
    assert ["Permission denied" in run.note for run in runs] == [False, False, True, True]


def test_isolation_from_inside(sandbox: DockerSandbox) -> None:
    os.environ["COUPLET_CANARY"] = "of the service"
    source = """
import os, socket
def refused(action, *args):
    try:
        action(*args)
    except OSError:
        return True
    return False
"""
    promises = [
        "refused(socket.create_connection, ('127.0.0.1', 80))",
        "refused(socket.socket, socket.AF_UNIX)",
        "refused(os.fork)",
        "refused(open, '/couplet/sandbox/inside/child.py', 'a')",
        "refused(open, '/etc/new', 'w')",
        "refused(open, '/dev/shm/new', 'w')",
        "refused(open, '/proc/1/environ')",
        "refused(os.listdir, '/')",
        "refused(os.kill, 1, 9)",
        "refused(os.setuid, 0)",
        "refused(os.chmod, '/tmp', 0o777)",
        "not any(map(os.path.exists, ['/var/run/docker.sock', '/run/docker.sock', '/bin/sh', '/usr/bin/env']))",
        "sorted(os.environ)",
    ]
    *held, environment = answers(sandbox.run(calls(source, *promises), Limits()))
    assert held == [True] * (len(promises) - 1)
    assert {"HOME", "PATH"} <= set(environment)
    assert not {"COUPLET_CANARY", "HOSTNAME"} & set(environment)


def test_isolation_from_outside(sandbox: DockerSandbox, client: Any) -> None:
    found = client.api.inspect_container(live_slot(sandbox).name)
    host = found["HostConfig"]
    assert (host["NetworkMode"], host["IpcMode"], host["ReadonlyRootfs"]) == ("none", "none", True)
    assert host["CapDrop"] == ["ALL"]
    assert {name.removeprefix("CAP_") for name in host["CapAdd"]} == {"SETUID", "SETGID", "KILL"}
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert 0 < host["PidsLimit"] <= 256
    assert 0 < host["Memory"] == host["MemorySwap"]
    assert (host["Binds"], found["Mounts"], host["Privileged"]) == (None, [], False)
    assert [name.split("=")[0] for name in found["Config"]["Env"]] == ["PATH"]


def test_slots_have_ids_of_their_own(sandbox: DockerSandbox, client: Any) -> None:
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: sandbox.run(calls("import time", "time.sleep(0.3)"), Limits()), range(2)))
    slots = [slot for slot in sandbox.live_slots() if isinstance(slot, DockerSlot)]
    configs = [json.loads(client.api.inspect_container(slot.name)["Args"][-1]) for slot in slots]
    uids = [config[kind] for config in configs for kind in ("runner_uid", "child_uid")]
    assert len(set(uids)) == len(uids) > 2


def test_there_is_no_shell_to_start(sandbox: DockerSandbox, client: Any) -> None:
    container = client.api.create_container(sandbox.describe()["image"], entrypoint=["/bin/sh"])["Id"]
    try:
        with pytest.raises(APIError, match="no such file"):
            client.api.start(container)
    finally:
        client.api.remove_container(container, force=True)


def test_more_memory_than_the_containers_have_is_refused(sandbox: DockerSandbox) -> None:
    with pytest.raises(ValueError, match="memory_mb is 4096, but the containers were started for 1024"):
        sandbox.run(calls("", "1"), Limits(memory_mb=4096))


def test_a_killed_container_is_replaced_and_the_run_repeated(docker_url: str, client: Any) -> None:
    with DockerSandbox(1, base_url=docker_url) as alone:
        client.api.kill(live_slot(alone).name)
        assert answers(alone.run(calls("", "6 * 7"), Limits())) == [42]
        name = live_slot(alone).name
        with ThreadPoolExecutor(1) as pool:
            run = pool.submit(alone.run, calls("import time", "time.sleep(1) or 42"), Limits())
            time.sleep(0.3)
            client.api.kill(name)
            assert answers(run.result(timeout=DEADLINE_S)) == [42]
        assert alone.describe()["slot_restarts"] == 2
        eventually(lambda: name not in names(client))


def test_a_dead_spare_is_not_handed_out(docker_url: str, client: Any) -> None:
    before = names(client)
    with DockerSandbox(1, base_url=docker_url) as alone:
        live_slot(alone)
        eventually(lambda: bool(alone.describe()["spare_ready"]))
        ours = names(client) - before
        assert len(ours) == 2
        for name in ours:
            client.api.kill(name)
        eventually(lambda: not alone.describe()["spare_ready"])
        assert answers(alone.run(calls("", "6 * 7"), Limits())) == [42]


def test_closing_removes_the_containers_and_ends_what_runs(docker_url: str, client: Any) -> None:
    before = names(client)
    alone = DockerSandbox(1, base_url=docker_url)
    live_slot(alone)
    assert names(client) - before
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(alone.run, calls("import time", "time.sleep(60)"), Limits(wall_s=90))
        time.sleep(0.3)
        alone.close()
        assert answers(run.result(timeout=DEADLINE_S)) == [Outcome.INFRA]
    alone.close()
    eventually(lambda: not names(client) - before)


SERVICE = """
import sys, time
from sandbox.docker.backend import DockerSandbox
from sandbox.types import Case, Limits, Program
sandbox = DockerSandbox(1, base_url=sys.argv[1])
sandbox.run(Program("", (Case("0", call="1"),)), Limits())
while not sandbox.describe()["spare_ready"]:
    time.sleep(0.05)
print("ready", flush=True)
time.sleep(600)
"""


def test_containers_of_a_killed_service_end_by_themselves(docker_url: str, client: Any) -> None:
    with subprocess.Popen([sys.executable, "-c", SERVICE, docker_url], stdout=subprocess.PIPE) as service:
        assert service.stdout is not None
        assert service.stdout.readline() == b"ready\n"
        assert any(f"-{service.pid}-" in name for name in names(client))
        service.kill()
    eventually(lambda: not any(f"-{service.pid}-" in name for name in names(client)))


def test_a_start_removes_the_containers_of_the_dead_only(
    sandbox: DockerSandbox, docker_url: str, client: Any
) -> None:
    with subprocess.Popen(["true"]) as ended:
        pass
    alive = owner.labels()
    owners = {"dead": alive | {"couplet.pid": str(ended.pid)}, "alive": alive, "foreign": {}}
    containers = {
        owner: client.api.create_container(
            sandbox.describe()["image"],
            entrypoint=["python3", "-S", "-c", "import time; time.sleep(600)"],
            labels=labels,
            host_config=client.api.create_host_config(network_mode="none"),
        )["Id"]
        for owner, labels in owners.items()
    }
    try:
        for container in containers.values():
            client.api.start(container)
        DockerSandbox(1, base_url=docker_url).close()
        left = {found["Id"] for found in client.api.containers(all=True)}
        assert {owner for owner, container in containers.items() if container in left} == {"alive", "foreign"}
        assert answers(sandbox.run(calls("", "6 * 7"), Limits())) == [42]
    finally:
        for container in containers.values():
            connect(docker_url).remove(container)


def test_an_image_is_built_once_however_many_ask(docker_url: str, client: Any) -> None:
    opened = connect(docker_url)
    first = ensure_image(opened)
    (tag,) = client.images.get(first).tags
    base = next(tag for image in client.images.list() for tag in image.tags if tag.startswith("couplet-python:"))
    assert ensure_image(opened, base) == first
    client.api.tag(first, "couplet-kept")  # so that removing the tag does not remove the image
    client.api.remove_image(tag)
    with ThreadPoolExecutor(4) as pool:
        built = set(pool.map(lambda _: ensure_image(opened), range(4)))
    assert len(built) == 1
    assert [image.id for image in client.images.list() if not image.tags] == []
    client.api.remove_image("couplet-kept", force=True)
    opened.client.close()


def test_what_is_missing_is_said_with_the_remedy(docker_url: str, tmp_path: Any) -> None:
    with pytest.raises(SandboxUnavailable, match=r"no container engine answers .* DOCKER_HOST .* jail backend"):
        DockerSandbox(base_url=f"unix://{tmp_path}/no.sock")
    with pytest.raises(SandboxUnavailable, match=r"no image 'nowhere:1'.*docker build"):
        DockerSandbox(base_url=docker_url, image="nowhere:1")
    with pytest.raises(SandboxUnavailable, match="no runtime 'swift', only"):
        DockerSandbox(base_url=docker_url, runtime="swift")


def test_an_image_without_python_is_refused(docker_url: str, client: Any) -> None:
    archive = io.BytesIO()
    tarfile.open(fileobj=archive, mode="w").close()
    client.api.import_image_from_data(archive.getvalue(), repository="empty", tag="1")
    with pytest.raises(SandboxUnavailable, match="python3"):
        DockerSandbox(base_url=docker_url, image="empty:1")


def test_it_describes_itself(sandbox: DockerSandbox) -> None:
    said = sandbox.describe()
    assert (said["backend"], said["level"], said["runtime"], said["slots"]) == (
        "docker",
        "container",
        "default",
        2,
    )
    assert said["engine"].startswith("Docker ")
    assert said["image"].startswith("sha256:")
    assert any("seccomp" in option for option in said["engine_security"])


def test_gvisor(docker_url: str) -> None:
    if shutil.which("runsc") is None:
        pytest.skip("gVisor's runsc is not installed")
    with DockerSandbox(1, base_url=docker_url, runtime="runsc") as alone:
        assert answers(alone.run(calls("", "6 * 7"), Limits())) == [42]


def test_a_killed_daemon_makes_no_verdict_wrong(docker_engine: engine.PrivateEngine, client: Any) -> None:
    with DockerSandbox(2, base_url=docker_engine.url) as alone:
        first = live_slot(alone).name
        with ThreadPoolExecutor(4) as pool:
            program = calls("import time", *(f"time.sleep(0.2) or {i}" for i in range(5)))
            runs = [pool.submit(alone.run, program, Limits()) for _ in range(4)]
            time.sleep(0.3)
            docker_engine.kill_daemon()
            found = [answers(run.result(timeout=DEADLINE_S)) for run in runs]
        assert all(answer in (i, Outcome.INFRA) for each in found for i, answer in enumerate(each))
        assert Outcome.INFRA in found[0]
        docker_engine.start()
        assert answers(alone.run(calls("", "6 * 7"), Limits())) == [42]
        eventually(lambda: first not in names(client))


def test_our_dockerfile_leaves_nothing_to_start_but_python(docker_url: str, client: Any) -> None:
    """On a stand-in for its base image, which no registry is needed for."""
    ensure_image(connect(docker_url))
    base = next(tag for image in client.images.list() for tag in image.tags if tag.startswith("couplet-python:"))
    container = client.api.create_container(base, entrypoint=["python3"])["Id"]
    client.api.put_archive(container, "/", tree("usr/bin/sh", "usr/sbin/chroot", "usr/local/bin/pip"))
    client.api.commit(container, repository="python", tag="3.11-slim")
    client.api.remove_container(container)
    client.images.build(path=str(DOCKERFILE.parent), tag="couplet-python-slim", rm=True)
    exported = client.api.create_container("couplet-python-slim", entrypoint=["python3"])["Id"]
    archive = io.BytesIO(b"".join(client.api.export(exported)))
    client.api.remove_container(exported)
    with tarfile.open(fileobj=archive) as opened:
        assert not {"usr/bin/sh", "usr/sbin/chroot", "usr/local/bin/pip"} & set(opened.getnames())
    with DockerSandbox(1, base_url=docker_url, image="couplet-python-slim") as alone:
        assert answers(alone.run(calls("", "6 * 7"), Limits())) == [42]
