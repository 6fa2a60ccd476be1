"""Neutron's configuration files for one server in one directory, and a clouds.yaml."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple


class Identity(NamedTuple):
    """Who logs in: user and cloud have the same name."""

    name: str
    password: str
    project: str
    roles: tuple[str, ...]


IDENTITIES = (
    Identity("admin", "lab-admin", "admin", ("admin", "member", "reader")),
    Identity("owner", "lab-owner", "web", ("member", "reader")),
    Identity("member", "lab-member", "guest", ("member", "reader")),
    Identity("reader", "lab-reader", "web", ("reader",)),
)

NEUTRON = """\
[DEFAULT]
use_stderr = true
auth_strategy = noauth
core_plugin = ml2
service_plugins =
transport_url = fake://
notify_nova_on_port_status_changes = false
notify_nova_on_port_data_changes = false
api_paste_config = {directory}/api-paste.ini
state_path = {directory}/state
rpc_workers = 0
rpc_state_report_workers = 0
api_workers = 1
[database]
connection = sqlite:///{directory}/neutron.sqlite
[oslo_concurrency]
lock_path = {directory}/state/lock
[quotas]
quota_driver = neutron.db.quota.driver_nolock.DbQuotaNoLockDriver
quota_port = -1
quota_security_group = -1
quota_security_group_rule = -1
"""

ML2 = """\
[ml2]
type_drivers = local,flat,vlan
tenant_network_types = local
mechanism_drivers =
extension_drivers = port_security
[ml2_type_flat]
flat_networks = provider,elsewhere
[securitygroup]
enable_security_group = true
"""

PASTE = """\
[composite:neutron]
use = egg:Paste#urlmap
/: versions
/v2.0: api

[composite:api]
use = call:neutron.auth:pipeline_factory
noauth = http_proxy_to_wsgi request_id catch_errors tokens keystonecontext extensions app
keystone = http_proxy_to_wsgi request_id catch_errors tokens keystonecontext extensions app

[composite:versions]
use = call:neutron.auth:pipeline_factory
noauth = http_proxy_to_wsgi versionsapp
keystone = http_proxy_to_wsgi versionsapp

[filter:request_id]
paste.filter_factory = oslo_middleware:RequestId.factory

[filter:catch_errors]
paste.filter_factory = oslo_middleware:CatchErrors.factory

[filter:http_proxy_to_wsgi]
paste.filter_factory = oslo_middleware.http_proxy_to_wsgi:HTTPProxyToWSGI.factory

[filter:keystonecontext]
paste.filter_factory = neutron.auth:NeutronKeystoneContext.factory

[filter:extensions]
paste.filter_factory = neutron.api.extensions:plugin_aware_extension_middleware_factory

[filter:tokens]
paste.filter_factory = tokens:factory

[app:versionsapp]
paste.app_factory = neutron.pecan_wsgi.app:versions_factory

[app:app]
paste.app_factory = neutron.api.v2.router:APIRouter.factory
"""


def write(directory: Path) -> None:
    """Write all that the server reads, for its owner's eyes only."""
    (directory / "state" / "lock").mkdir(parents=True, exist_ok=True)
    users = {i.name: (i.password, i.project, i.roles) for i in IDENTITIES}
    texts = {
        "neutron.conf": NEUTRON.format(directory=directory),
        "ml2.ini": ML2,
        "api-paste.ini": PASTE,
        "users.json": json.dumps(users),
    }
    for name, text in texts.items():
        file = directory / name
        file.touch(mode=0o600)
        file.write_text(text)


def clouds_yaml(url: str) -> str:
    """Give a clouds.yaml with one cloud per identity; JSON is YAML."""
    clouds = {
        i.name: {
            "region_name": "lab",
            "auth": {
                "auth_url": f"{url}/identity/v3",
                "username": i.name,
                "password": i.password,
                "project_name": i.project,
                "user_domain_name": "Default",
                "project_domain_name": "Default",
            },
        }
        for i in IDENTITIES
    }
    return json.dumps({"clouds": clouds}, indent=2) + "\n"
