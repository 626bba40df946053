"""The files of docs/deploy/: linted by the programs that read them, and run."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from page_helpers import type_message
from serve_helpers import StubClassifier, serving, until

from gpt2_jax.cli.flags import with_flags
from gpt2_jax.cli.main import build_parser
from gpt2_jax.config import ServeConfig
from gpt2_jax.serve.prometheus import Metrics

_DEPLOY = Path(__file__).parents[2] / "docs" / "deploy"
_NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log stderr;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    server {{ listen 127.0.0.1:{port}; {site} }}
}}
"""


def _found(program: str, package: str) -> str:
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
    if path is None:
        pytest.skip(f"{program} is not installed (Debian: {package})")
    return path


def _runs(*command: object, **options: Any) -> None:
    words = list(map(str, command))
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def proxied(tmp_path_factory) -> Iterator[str]:
    """The URL of a service behind nginx, as docs/deploy/nginx.conf says."""
    nginx, folder = _found("nginx", "nginx-light"), tmp_path_factory.mktemp("nginx")
    flags = {"root_path": "/spam", "allow_hosts": ("texts.example",)}
    with serving(StubClassifier(), **flags) as service:
        site = (_DEPLOY / "nginx.conf").read_text()
        assert "127.0.0.1:8000;" in site
        site = site.replace("127.0.0.1:8000;", f"127.0.0.1:{service.port};")
        with serving(StubClassifier()) as other:
            port = other.port  # free again in a moment
        config = folder / "nginx.conf"
        config.write_text(_NGINX.format(folder=folder, port=port, site=site))
        _runs(nginx, "-t", "-c", config, "-p", folder)
        url = f"http://127.0.0.1:{port}/spam/"
        with subprocess.Popen([nginx, "-c", str(config), "-p", str(folder)]) as process:
            try:
                until(lambda: _answers(f"{url}readyz"), 20)
                yield url
            finally:
                process.terminate()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


def test_behind_nginx_it_answers_under_its_path(proxied):
    host = {"host": "texts.example"}
    sent = {"texts": ["free prize"]}
    answer = httpx.post(f"{proxied}v1/classify", json=sent, headers=host)
    assert answer.status_code == 200
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])
    assert httpx.get(proxied, headers=host).text.startswith("<!doctype html>")
    moved = httpx.get(proxied.removesuffix("/"), headers=host)
    assert moved.status_code == 308 and moved.headers["location"].endswith("/spam/")
    assert httpx.get(f"{proxied}readyz", headers={"host": "evil"}).status_code == 400
    table = {"content-type": "application/octet-stream", **host}
    file = b"text\n" + b"free prize\n" * 300
    rows = httpx.post(f"{proxied}v1/table?name=a.csv", content=file, headers=table)
    assert rows.text.count("\n") == 300


@pytest.mark.slow
def test_behind_nginx_the_page_works(proxied, open_page):
    page = open_page(proxied)
    type_message(page, "win a prize")
    page.wait_for_selector("#result:not(.stale) .word")
    assert "/spam/v1/classify" in (page.locator("#curl").text_content() or "")


def test_the_unit_is_one_of_systemd_and_starts_a_command_of_ours(tmp_path):
    unit = (_DEPLOY / "gpt2-jax.service").read_text()
    (line,) = re.findall("^ExecStart=(.*)$", unit, re.MULTILINE)
    program, *argv = shlex.split(line)
    config = with_flags(ServeConfig(), build_parser().parse_args(argv))
    assert config.root_path == "/spam" and config.access_log
    analyze = _found("systemd-analyze", "systemd")
    path = tmp_path / "gpt2-jax.service"
    path.write_text(unit.replace(program, "/bin/true"))
    _runs(analyze, "verify", "--man=no", path)


def test_the_alerts_speak_of_metrics_that_are_there():
    rules = yaml.safe_load((_DEPLOY / "alerts.yml").read_text())
    there = {"up"}
    for metric in Metrics().registry.collect():
        there |= {metric.name, *(f"{metric.name}_{s}" for s in ("total", "bucket"))}
        there |= {f"{metric.name}_count"}
    (group,) = rules["groups"]
    for rule in group["rules"]:
        names = re.findall(r"\b(gpt2_jax_\w+|process_\w+|up)\b", rule["expr"])
        assert names and set(names) <= there, rule["alert"]


def test_prometheus_accepts_both_files(tmp_path):
    promtool = _found("promtool", "prometheus")
    token = tmp_path / "token"
    token.write_text("secret")
    scrape = (_DEPLOY / "prometheus.yml").read_text()
    (tmp_path / "prometheus.yml").write_text(
        scrape.replace("/etc/prometheus/gpt2-jax-token", str(token))
    )
    shutil.copy(_DEPLOY / "alerts.yml", tmp_path)
    _runs(promtool, "check", "config", tmp_path / "prometheus.yml")


def test_the_container_starts_a_command_of_ours_as_no_root():
    text = (_DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    told = {line.split(" ")[0]: line for line in lines if line}
    entry = yaml.safe_load(told["ENTRYPOINT"].removeprefix("ENTRYPOINT "))
    arguments = build_parser().parse_args(entry[1:])
    assert entry[0] == "gpt2-jax" and arguments.run == Path("/run-folder")
    assert told["USER"] == "USER gpt2-jax" and "useradd" in told["RUN"]
    check = yaml.safe_load(told["HEALTHCHECK"].partition(" CMD ")[2])
    compile(check[2], "HEALTHCHECK", "exec")
    known = {"FROM", "COPY", "RUN", "USER", "ENV", "EXPOSE", "HEALTHCHECK"}
    assert set(told) == known | {"ENTRYPOINT"}
