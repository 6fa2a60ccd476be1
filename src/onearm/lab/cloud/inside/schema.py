"""Make Neutron's database straight from its models: `schema.py FILE`, in Neutron's environment.

`neutron-db-manage upgrade` cannot run on SQLite (it alters constraints), so the tables come from
the models, and what the migrations would have inserted comes from the migration itself.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from neutron.db import migration
from neutron.db.migration.models import head

VERSIONS = Path(str(migration.__file__)).parent / "alembic_migrations" / "versions"
RULES = VERSIONS / "2023.2" / "expand" / "c33da356b165_security_group_default_rules.py"


def make(url: str) -> None:
    """Create all tables, the default rules of new groups, and the mark of the migrations."""
    engine = sa.create_engine(url)
    metadata = head.get_metadata()
    metadata.create_all(engine)
    with engine.begin() as connection:
        if RULES.exists() and "securitygroupdefaultrules" in metadata.tables:
            _default_rules(connection, metadata)
        _stamp(connection)


def _default_rules(connection: Any, metadata: Any) -> None:
    """Insert the rules that each new group starts with; without them none may send anything."""
    found = importlib.util.spec_from_file_location("default_rules", RULES)
    if found is None or found.loader is None:
        raise RuntimeError(f"{RULES} cannot be loaded")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    attributes = metadata.tables["standardattributes"]
    table = metadata.tables["securitygroupdefaultrules"]
    for template in module.default_template_rules:
        rule = dict(template)
        row = attributes.insert().values(
            description=rule.pop("description"), resource_type=table.name, revision_number=0
        )
        key = connection.execute(row).inserted_primary_key[0]
        connection.execute(table.insert().values(standard_attr_id=key, **rule))


def _stamp(connection: Any) -> None:
    connection.execute(sa.text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
    for name in ("EXPAND_HEAD", "CONTRACT_HEAD"):
        file = VERSIONS / name
        if file.exists():
            version = {"v": file.read_text().strip()}
            connection.execute(sa.text("INSERT INTO alembic_version VALUES (:v)"), version)


if __name__ == "__main__":
    make(f"sqlite:///{sys.argv[1]}")
