"""``docker compose up`` for real: ``python -m tests.deploy.compose_up COMPOSE``, as root.

COMPOSE is the program of Docker Compose. No registry is asked: the reward image is the Dockerfile's on a base of
Debian's packages; Redis, its exporter and Prometheus are Debian's, under the names that compose.yaml has. Grafana,
which Debian has not, is left out. In place of some GB of CUDA, the run's image has this machine's interpreter and
packages, mounted.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.image_base import ROOT, build, connect, ensure_base, import_packages, quick_folder
from tests.sandbox.engine import PrivateEngine

_PACKAGES = (
    "redis-server,redis-tools,prometheus,prometheus-redis-exporter,dash,coreutils,grep,libc-bin,base-files,base-passwd,"
    "passwd,libstdc++6,libssl3,libffi8,zlib1g,libbz2-1.0,liblzma5,libsqlite3-0,libreadline8,libncursesw6,libgomp1,"
    "procps,hostname,bash"
)
_IMAGES = {
    "redis": "RUN ln -s redis-server /usr/bin/valkey-server && ln -s redis-cli /usr/bin/valkey-cli"
    " && install -d -o 999 /data\nWORKDIR /data",
    "redis-exporter": 'USER 59000:59000\nENTRYPOINT ["/usr/bin/prometheus-redis-exporter"]',
    "prometheus": "RUN mkdir -p /prometheus && chown 65534:65534 /prometheus\nUSER 65534:65534\n"
    'ENTRYPOINT ["/usr/bin/prometheus"]',
    "train": "RUN useradd --uid 10001 --user-group --create-home --shell /bin/bash couplet"
    " && install -d -o couplet /runs /home/couplet/.cache /home/couplet/.cache/huggingface"
    " && chmod go+x /root\nUSER 10001:10001",  # for an interpreter in /root, which is mounted at its path
}
_QUERIES = (
    "sum by (job) (up)",
    "max(couplet_training_step)",
    "count(count by (role) (couplet_build_info))",
    "redis_up",
    'count({__name__=~"ray_.+"})',
    'count(ALERTS{alertstate="firing"})',
)
_OVERRIDES = "run.steps=10 learner.ranks=1 rollout.workers=1"
_PATIENCE_S = 900.0


def main() -> int:
    """The exit code of the run."""
    begun = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="couplet-compose-", dir=quick_folder()))
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]

    def say(text: str) -> None:
        sys.stdout.write(f"[{time.monotonic() - begun:6.1f} s] {text}\n")
        sys.stdout.flush()

    try:
        _make_images(folder, services)
        say("images made")
        engine = PrivateEngine(folder, networks=True)
        engine.start()
        try:
            return _run(engine, folder, Path(sys.argv[1]), say)
        finally:
            engine.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _make_images(folder: Path, services: dict[str, Any]) -> None:
    """By an engine in this machine's network, as building asks for packages."""
    engine = PrivateEngine(folder)
    engine.start()
    client = connect(engine.url)
    try:
        ensure_base(client, folder)
        build(client, ROOT, ROOT / "deploy/docker/reward.Dockerfile", _image(services["reward"]))
        import_packages(client, folder, "couplet-test-services:bookworm", _PACKAGES)
        for name, lines in _IMAGES.items():
            context = folder / f"context-{name}"
            context.mkdir()
            (context / "Dockerfile").write_text(f"FROM couplet-test-services:bookworm\n{lines}\n")
            build(client, context, context / "Dockerfile", _image(services[name]))
    finally:
        client.close()
        engine.stop()


def _image(service: dict[str, Any]) -> str:
    """With the defaults of its variables."""
    repository, _, tag = service["image"].partition(":")
    return f"{repository}:{tag.partition(':-')[2].removesuffix('}') or tag}"


def _run(engine: PrivateEngine, folder: Path, compose: Path, say: Any) -> int:
    (folder / "tasks").mkdir()
    python = [
        sys.prefix,
        sys.base_prefix,
        str(ROOT),
        *(path for path in sys.path if path.endswith("site-packages")),
    ]
    ours = {
        "services": {
            "grafana": {"profiles": ["grafana"]},
            "train": {
                "volumes": [f"{path}:{path}:ro" for path in dict.fromkeys(python)],
                "environment": {"PATH": f"{sys.prefix}/bin:{sys.base_prefix}/bin:/usr/bin:/bin"},
            },
        }
    }
    (folder / "ours.yaml").write_text(yaml.safe_dump(ours))
    files = [ROOT / "compose.yaml", ROOT / "deploy/compose/cpu.yaml", folder / "ours.yaml"]
    command = [str(compose), *(word for file in files for word in ("-f", str(file))), "--profile", "train"]
    environment = {
        **os.environ,
        "DOCKER_HOST": engine.url,
        "COUPLET_DATA": str(folder / "tasks"),
        "COUPLET_OVERRIDES": _OVERRIDES,
        "COUPLET_SHM": "2gb",
        **{f"COUPLET_{name}": "word-1" for name in ("REDIS_PASSWORD", "REWARD_TOKEN", "GRAFANA_PASSWORD")},
    }

    def ask(*words: str, check: bool = True) -> str:
        done = subprocess.run(
            [*command, *words], env=environment, capture_output=True, text=True, timeout=_PATIENCE_S
        )
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done.stdout

    try:
        ask("up", "-d", "--no-build")
        say("docker compose up -d: every service has started, reward and redis are healthy")
        end, code = time.monotonic() + _PATIENCE_S, ""
        while not code:
            assert time.monotonic() < end, ask("logs", "--tail=50", "train")
            rows = [json.loads(line) for line in ask("ps", "--all", "--format=json").splitlines()]
            (train,) = [row for row in rows if row["Service"] == "train"]
            if train["State"] == "running":
                answers = {query: _query(engine, query) for query in _QUERIES}
            code = str(train["ExitCode"]) if train["State"] == "exited" else ""
            time.sleep(2.0)
        say(f"train has ended with {code}; its last lines:")
        for line in ask("logs", "--no-log-prefix", "--tail=4", "train").splitlines():
            say(f"    {line}")
        for row in sorted(rows, key=lambda row: str(row["Service"])):
            say(f"    {row['Service']}: {row['Status']}")
        for query, answer in answers.items():
            say(f"    {query}: {answer}")
        return int(code)
    except BaseException:
        sys.stdout.write(ask("logs", "--tail=60", check=False))
        raise
    finally:
        ask("down", "--volumes", check=False)
        say("docker compose down")


def _query(engine: PrivateEngine, query: str) -> str:
    """Prometheus' answer, asked at the address that compose.yaml publishes."""
    script = (
        "import json, sys, urllib.parse, urllib.request\n"
        "url = 'http://127.0.0.1:9090/api/v1/query?' + urllib.parse.urlencode({'query': sys.argv[1]})\n"
        "found = json.load(urllib.request.urlopen(url, timeout=10))['data']['result']\n"
        "print(', '.join(' '.join([*one['metric'].values(), one['value'][1]]) for one in found) or 'none')\n"
    )
    inside = ["nsenter", "--net", "--target", str(engine.pid), sys.executable, "-c", script, query]
    done = subprocess.run(inside, capture_output=True, text=True, timeout=60)
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


if __name__ == "__main__":
    sys.exit(main())
