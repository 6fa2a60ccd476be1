"""Identities without Keystone's weight: a WSGI app that issues tokens, a filter that reads them.

A token is `user:project:roles:nonce`. The app speaks enough of Keystone v3 for a client to log in
with a password and find the network and compute services; the filter sets the headers that
keystonemiddleware would set. It runs in Neutron's environment, for labs and tests.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
NEVER = "2099-01-01T00:00:00.000000Z"
DOMAIN = {"id": "default", "name": "Default"}
PARTS = 4


def factory(_global_conf: dict[str, str], **_local: str) -> Callable[[App], App]:
    """Make the paste filter."""
    return lambda app: lambda env, start: _filtered(app, env, start)


def _filtered(app: App, env: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    parts = env.get("HTTP_X_AUTH_TOKEN", "").split(":")
    if len(parts) != PARTS:
        return _say(start, "401 Unauthorized", _error(401, "requires authentication"))
    user, project, roles, _nonce = parts
    env.update(
        HTTP_X_IDENTITY_STATUS="Confirmed",
        HTTP_X_USER_ID=user,
        HTTP_X_USER_NAME=user,
        HTTP_X_PROJECT_ID=project,
        HTTP_X_PROJECT_NAME=project,
        HTTP_X_ROLES=roles,
        HTTP_X_USER_DOMAIN_ID="default",
        HTTP_X_PROJECT_DOMAIN_ID="default",
    )
    return app(env, start)


def identity(directory: Path) -> App:
    """Make the app of `/identity`; `users.json` there holds user: [password, project, roles]."""

    def app(env: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        root = f"http://{env['HTTP_HOST']}"
        if env["REQUEST_METHOD"] != "POST":
            return _say(start, "200 OK", {"version": _version(f"{root}/identity/v3")})
        size = int(env.get("CONTENT_LENGTH") or 0)
        asked = json.loads(env["wsgi.input"].read(size))["auth"]["identity"]["password"]["user"]
        users = json.loads((directory / "users.json").read_text())
        password, project, roles = users.get(asked["name"], ("", "", []))
        if not password or asked["password"] != password:
            return _say(start, "401 Unauthorized", _error(401, "requires authentication"))
        token = ":".join((asked["name"], project, ",".join(roles), secrets.token_hex(8)))
        body = {"token": _access(asked["name"], project, roles, root)}
        return _say(start, "201 Created", body, ("X-Subject-Token", token))

    return app


def compute(directory: Path) -> App:
    """Make the app of `/compute`: the servers of `servers.json`, an object of name: id."""

    def app(env: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        root = f"http://{env['HTTP_HOST']}/compute/v2.1"
        file = directory / "servers.json"
        known = json.loads(file.read_text()) if file.exists() else {}
        path = env["PATH_INFO"].rstrip("/")
        servers = [{"id": value, "name": name, "links": []} for name, value in known.items()]
        if path.endswith(("/servers", "/servers/detail")):
            return _say(start, "200 OK", {"servers": servers})
        found = [server for server in servers if path.endswith(f"/servers/{server['id']}")]
        if found:
            return _say(start, "200 OK", {"server": found[0]})
        if "/servers/" in path:
            return _say(start, "404 Not Found", {"itemNotFound": {"code": 404, "message": "none"}})
        return _say(start, "200 OK", {"version": {**_version(root), "id": "v2.1"}})

    return app


def _version(url: str) -> dict[str, Any]:
    link = [{"rel": "self", "href": f"{url}/"}]
    return {"id": "v3.14", "status": "CURRENT", "version": "", "min_version": "", "links": link}


def _access(user: str, project: str, roles: list[str], root: str) -> dict[str, Any]:
    services = (("identity", "/identity/v3"), ("network", ""), ("compute", "/compute/v2.1"))
    return {
        "methods": ["password"],
        "expires_at": NEVER,
        "issued_at": "2020-01-01T00:00:00.000000Z",
        "user": {"id": user, "name": user, "domain": DOMAIN},
        "project": {"id": project, "name": project, "domain": DOMAIN},
        "roles": [{"id": role, "name": role} for role in roles],
        "catalog": [
            {
                "type": kind,
                "name": kind,
                "id": kind,
                "endpoints": [
                    {
                        "id": f"{kind}-1",
                        "interface": "public",
                        "region": "lab",
                        "region_id": "lab",
                        "url": f"{root}{path}",
                    }
                ],
            }
            for kind, path in services
        ],
    }


def _error(code: int, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "title": "Unauthorized", "message": message}}


def _say(
    start: Callable[..., Any], status: str, body: dict[str, Any], *headers: tuple[str, str]
) -> list[bytes]:
    data = json.dumps(body).encode()
    start(
        status,
        [("Content-Type", "application/json"), ("Content-Length", str(len(data))), *headers],
    )
    return [data]
