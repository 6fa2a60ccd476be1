"""SQLite good enough for one Neutron process: importing this installs the hooks.

WAL, so that readers never wait; no fsync. A request's thread takes the write lock as its
transaction begins, for one that reads first and writes later could not be upgraded once another
wrote. Neutron's own threads begin as readers and wait briefly, or they and a request would wait for
each other. `database is locked` becomes DBDeadlock, which Neutron's decorators try again.
"""

from __future__ import annotations

import re
import threading
from typing import Any

import sqlalchemy as sa
from oslo_db import exception as db_exc
from oslo_db.sqlalchemy import exc_filters
from sqlalchemy import exc as sqla_exc
from sqlalchemy.engine import Engine

LOCKED = re.compile(r".*database (table )?is locked.*").pattern
PRAGMAS = ("journal_mode=WAL", "synchronous=OFF")
REQUEST_MS, OTHERS_MS = 5000, 300

local = threading.local()  # `request` is set in the threads that serve requests


@exc_filters.filters("sqlite", sqla_exc.OperationalError, LOCKED)
def _locked(error: Any, _match: Any, _engine_name: Any, _is_disconnect: Any) -> None:
    raise db_exc.DBDeadlock(error)


@sa.event.listens_for(Engine, "connect")
def _connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    for pragma in PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")


@sa.event.listens_for(Engine, "begin")
def _begin(connection: Any) -> None:
    if "in_transaction" not in connection.info:  # oslo.db's own marker: else it sends BEGIN too
        request = getattr(local, "request", False)
        connection.exec_driver_sql(f"PRAGMA busy_timeout={REQUEST_MS if request else OTHERS_MS}")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if request else "BEGIN")
        connection.info["in_transaction"] = True
