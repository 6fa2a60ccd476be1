"""A filter before Neutron's API that tells its threads from ML2/OVN's; in Neutron's environment.

While a request holds SQLite's write lock it waits for OVN, and the thread that hears OVN reads the
database: so only a request's transaction may take that lock as it begins.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

import sqlalchemy as sa
import sqlite_hooks  # type: ignore[import-not-found]
from sqlalchemy.engine import Engine

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
_thread = threading.local()


def factory(_global_conf: dict[str, str], **_local: str) -> Callable[[App], App]:
    """Make the paste filter."""
    sa.event.remove(Engine, "begin", sqlite_hooks._begin)  # noqa: SLF001 - put in its place
    sa.event.listen(Engine, "begin", _begin)
    return lambda app: lambda env, start: _marked(app, env, start)


def _marked(app: App, env: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    _thread.writes = True
    import faulthandler  # DEBUG
    faulthandler.dump_traceback_later(6)  # DEBUG
    try:
        return list(app(env, start))
    finally:
        faulthandler.cancel_dump_traceback_later()


def _begin(connection: Any) -> None:
    if "in_transaction" not in connection.info:
        writes = getattr(_thread, "writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
        connection.info["in_transaction"] = True
