"""SQLite good enough for one Neutron process: importing this installs the hooks.

WAL, so that readers never wait; no fsync; each transaction takes the write lock as it begins, for
one that reads first and writes later could not be upgraded once another wrote. `database is locked`
becomes DBDeadlock, which Neutron's own decorators try again.
"""

from __future__ import annotations

import re
from typing import Any

import sqlalchemy as sa
from oslo_db import exception as db_exc
from oslo_db.sqlalchemy import exc_filters
from sqlalchemy import exc as sqla_exc
from sqlalchemy.engine import Engine

LOCKED = re.compile(r".*database (table )?is locked.*").pattern
PRAGMAS = ("journal_mode=WAL", "synchronous=OFF", "busy_timeout=30000")


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
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        connection.info["in_transaction"] = True
