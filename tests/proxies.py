"""Real proxies in front of the app: nginx, Caddy and Varnish, each on a free port of loopback, with
its files in a folder of its own.

A proxy that is not installed is a skip, and a failure where TEST_PROXIES is `required`.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.serving import WSGIRequestHandler, make_server

from tests.servers import free_port, listens, until

NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/log;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/1; uwsgi_temp_path {folder}/2; scgi_temp_path {folder}/3;
  proxy_cache_path {folder}/cache keys_zone=cache:1m;
  proxy_http_version 1.1;
  proxy_set_header Host $http_host;
  proxy_set_header X-Forwarded-Proto $scheme;
  proxy_set_header X-Forwarded-For $remote_addr:$remote_port;
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_cache cache; add_header X-Cache $upstream_cache_status; proxy_pass {app}; }}
    location /demo/ {{ proxy_set_header X-Forwarded-Prefix /demo; proxy_pass {app}/; }}
  }}
}}
"""
CADDY = """
{{
  admin off
  auto_https off
}}
http://:{port} {{
  bind 127.0.0.1
  handle_path /demo/* {{
    reverse_proxy {app} {{
      header_up X-Forwarded-Prefix /demo
    }}
  }}
  handle {{
    reverse_proxy {app}
  }}
}}
"""


class Quiet(WSGIRequestHandler):
    """Says nothing of each request."""

    def log(self, *_: Any) -> None:
        return


@contextlib.contextmanager
def listening(app: Flask) -> Iterator[str]:
    """The app on a port of this process, a thread for each connection."""
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    server.daemon_threads = True  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def find(name: str) -> str:
    """Where a proxy is; skips the test where it is nowhere and need not be."""
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
    found = shutil.which(name, path=path)
    if found is None:
        assert os.environ.get("TEST_PROXIES") != "required", f"{name} is not installed"
        pytest.skip(f"needs {name}")
    return found


@contextlib.contextmanager
def nginx(app: str) -> Iterator[str]:
    """nginx with its cache: the app at its root, and below /demo."""
    binary = find("nginx")
    with _folder() as folder:
        port, config = _configured(folder, app, NGINX)
        with _process([binary, "-p", str(folder), "-c", config], folder, port) as url:
            yield url


@contextlib.contextmanager
def caddy(app: str) -> Iterator[str]:
    """Caddy: the app at its root, and below /demo."""
    binary = find("caddy")
    with _folder() as folder:
        port, config = _configured(folder, app, CADDY)
        command = [binary, "run", "--adapter", "caddyfile", "--config", config]
        with _process(command, folder, port) as url:
            yield url


@contextlib.contextmanager
def varnish(app: str, config: str = "") -> Iterator[str]:
    """Varnish as it comes, or with this configuration, in which {host} and {port} are the app's."""
    binary = find("varnishd")
    with _folder() as folder:
        port, place = free_port(), app.removeprefix("http://")
        how = ["-b", place]
        if config:
            (folder / "vcl").write_text(config)
            how = ["-f", str(folder / "vcl")]
        command = [binary, "-F", "-j", "none", "-a", f"127.0.0.1:{port}", "-n", str(folder / "n")]
        command += ["-s", "malloc,16m", "-p", "thread_pool_min=5", "-p", "thread_pools=1", *how]
        with _process(command, folder, port) as url:
            yield url


PROXIES = {"nginx": nginx, "caddy": caddy, "varnish": varnish}


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="proxy-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _configured(folder: Path, app: str, text: str) -> tuple[int, str]:
    port, config = free_port(), folder / "config"
    config.write_text(text.format(folder=folder, port=port, app=app))
    return port, str(config)


@contextlib.contextmanager
def _process(command: list[str], folder: Path, port: int) -> Iterator[str]:
    environment = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    environment["XDG_CONFIG_HOME"] = str(folder)
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=said, stderr=subprocess.STDOUT
        )
        try:
            until(lambda: process.poll() is not None or listens(port), 20)
            assert process.poll() is None, (folder / "said").read_text()
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
