"""One process that is a Neutron API: `serve.py DIRECTORY PORT`, in Neutron's environment.

It prints the port it listens on and ends with its standard input. Neutron itself runs unchanged;
requests are served one at a time, because SQLite has one writer anyway.
"""

from __future__ import annotations

import os
import socketserver
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from wsgiref import simple_server

sys.path.insert(0, str(Path(__file__).parent))

import sqlite_hooks  # type: ignore[import-not-found]
import tokens  # type: ignore[import-not-found]


class Server(socketserver.ThreadingMixIn, simple_server.WSGIServer):
    """A thread per connection, so that a client that is slow keeps nobody waiting."""

    daemon_threads = True
    request_queue_size = 64


class Quiet(simple_server.WSGIRequestHandler):
    """No line per request."""

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def neutron(directory: Path) -> Any:
    """Load Neutron's application; it reads its files' names from the environment."""
    # Neutron keeps its workers' start times in files named by the parent: stale ones mislead it
    os.environ["TMPDIR"] = tempfile.tempdir = tempfile.mkdtemp(dir=directory)
    os.environ["ASGI_WORKERS"] = "1"
    os.environ["OS_NEUTRON_CONFIG_DIR"] = str(directory)
    os.environ["OS_NEUTRON_CONFIG_FILES"] = "neutron.conf;ml2.ini"
    from neutron.wsgi.api import application

    return application


def routed(directory: Path) -> Callable[..., Iterable[bytes]]:
    """Send /identity and /compute to the small apps, all else to Neutron."""
    lock = threading.Lock()
    api = neutron(directory)
    small = {"identity": tokens.identity(directory), "compute": tokens.compute(directory)}

    def app(env: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        first = env["PATH_INFO"].strip("/").partition("/")[0]
        if first in small:
            found: Iterable[bytes] = small[first](env, start)
            return found
        sqlite_hooks.local.request = True
        with lock:
            return list(api(env, start))

    return app


def main() -> None:
    """Serve until standard input ends."""
    directory, port = Path(sys.argv[1]), int(sys.argv[2])
    sys.argv = sys.argv[:1]
    server = simple_server.make_server("127.0.0.1", port, routed(directory), Server, Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
