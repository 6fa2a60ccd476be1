"""A few requests to the lab's Neutron, by one of its identities; standard library only."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlencode

from onearm.errors import PlaceError
from onearm.lab.cloud.files import Identity

Json = dict[str, Any]
TIMEOUT_S = 30.0


class Api:
    """One identity's way to the API; it logs in with the first request."""

    def __init__(self, url: str, identity: Identity) -> None:
        """Keep who asks and where; nothing is asked yet."""
        self._url, self._identity, self._token = url, identity, ""

    def list(self, kind: str, **query: str) -> list[Json]:
        """List a collection."""
        asked = f"?{urlencode(query)}" if query else ""
        rows: list[Json] = self._ask("GET", f"/v2.0/{kind.replace('_', '-')}{asked}")[kind]
        return rows

    def make(self, kind: str, **fields: Any) -> Json:
        """Create something of a kind, named in the singular."""
        made: Json = self._ask("POST", f"/v2.0/{kind.replace('_', '-')}s", {kind: fields})[kind]
        return made

    def change(self, kind: str, thing: str, **fields: Any) -> None:
        """Change something."""
        self._ask("PUT", f"/v2.0/{kind.replace('_', '-')}s/{thing}", {kind: fields})

    def _ask(self, method: str, path: str, body: Json | None = None) -> Json:
        self._token = self._token or self._login()
        return self._send(method, path, body, {"X-Auth-Token": self._token})[0]

    def _login(self) -> str:
        user = {"name": self._identity.name, "password": self._identity.password}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}}
        return str(self._send("POST", "/identity/v3/auth/tokens", body, {})[1]["X-Subject-Token"])

    def _send(
        self, method: str, path: str, body: Json | None, headers: dict[str, str]
    ) -> tuple[Json, Any]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **headers}
        request = urllib.request.Request(  # noqa: S310 - the lab's own http address
            self._url + path, data, headers, method=method
        )
        try:
            with _OPENER.open(request, timeout=TIMEOUT_S) as answer:
                return json.loads(answer.read()), answer.headers
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")[:300]
            raise PlaceError(f"the lab's Neutron: {method} {path}: {error.code} {said}") from error
        except (OSError, ValueError) as error:
            raise PlaceError(f"the lab's Neutron: {method} {path}: {error}") from error


_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never by a proxy
