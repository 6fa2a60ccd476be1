"""A filter before Neutron's API that tells its threads from ML2/OVN's; in Neutron's environment.

A request holds SQLite's write lock while it waits for OVN, and the threads that hear OVN use the
database too: so only a request's transaction takes that lock as it begins, and the others do not
wait for it for long. A second transaction within a request's own reads what was before the first.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

import sqlalchemy as sa
import sqlite_hooks  # type: ignore[import-not-found]
from sqlalchemy.engine import Engine

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
REQUEST_MS, EVENT_MS = 30000, 300


class Thread(threading.local):
    """What a thread is, and the connection on which it holds the write lock."""

    request = False
    writer: Any = None


_thread = Thread()


def factory(_global_conf: dict[str, str], **_local: str) -> Callable[[App], App]:
    """Make the paste filter."""
    sa.event.remove(Engine, "begin", sqlite_hooks._begin)  # noqa: SLF001 - put in its place
    sa.event.listen(Engine, "begin", _begin)
    sa.event.listen(Engine, "commit", _end)
    sa.event.listen(Engine, "rollback", _end)
    return lambda app: lambda env, start: _marked(app, env, start)


def _marked(app: App, env: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    _thread.request, _thread.writer = True, None
    return app(env, start)


def _begin(connection: Any) -> None:
    if "in_transaction" in connection.info:  # as in sqlite_hooks
        return
    writes = _thread.request and _thread.writer is None
    wait = REQUEST_MS if _thread.request else EVENT_MS
    connection.exec_driver_sql(f"PRAGMA busy_timeout={wait}")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
    connection.info["in_transaction"] = True
    if writes:
        _thread.writer = connection


def _end(connection: Any) -> None:
    if _thread.writer is connection:
        _thread.writer = None
