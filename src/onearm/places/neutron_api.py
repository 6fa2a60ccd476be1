"""How a cloud's API is spoken to: openstacksdk logs in, every call has a deadline."""

from __future__ import annotations

import argparse
import json
import logging
import os
import threading
import time
import warnings
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from onearm.errors import Missing, PlaceError, Unreachable
from onearm.places.neutron_answers import Reply, asked_wait, whole
from onearm.places.neutron_faults import Redactor, garbled, refusal, said, trouble

CONNECT_S = 5.0
READ_S = 20.0
CALL_S = 30.0  # one call with its repetitions and waits
PAGE = 1000
FILES = ("cloud", "client_config_file", "client_secure_file", "client_vendor_file")
AUTH = (  # how one logs in, by the names that keystoneauth's plugins have for it
    "auth_url", "username", "user_id", "password", "token", "passcode",
    "user_domain_id", "user_domain_name", "project_id", "project_name",
    "project_domain_id", "project_domain_name", "tenant_id", "tenant_name",
    "domain_id", "domain_name", "default_domain_id", "default_domain_name",
    "system_scope", "trust_id", "application_credential_id",
    "application_credential_name", "application_credential_secret",
)  # fmt: skip
WAIT_CODES = frozenset({429, 502, 503, 504})

Json = dict[str, Any]
log = logging.getLogger(__name__)


class Api:
    """One cloud, as the openstack client would reach it: clouds.yaml by name, or OS_* variables.

    Nothing is reached before the first call. A keystoneauth session per thread, one login for all.
    """

    def __init__(self, cloud: str | None, *, call_s: float = CALL_S) -> None:
        """Keep the cloud's name; None means the environment's."""
        named = cloud or os.environ.get("OS_CLOUD")
        self.where = f"cloud {named!r}" if named else "the cloud of the OS_* variables"
        self._cloud = cloud
        self._call_s = call_s
        self._clean = Redactor()
        self._lock = threading.Lock()
        self._threads = threading.local()
        self._connection: Any = None
        self._bases: dict[str, str | None] = {}
        self._lost: PlaceError | None = None

    def __repr__(self) -> str:
        """Show no more than the name."""
        return f"Api({self.where})"

    def close(self) -> None:
        """Let the connections go."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None
            self._lost = None
            self._bases.clear()
            self._threads = threading.local()

    def _connected(self) -> Any:
        with self._lock:
            if self._connection is None:
                self._connection = self._connect()
            return self._connection

    def _connect(self) -> Any:
        try:
            import openstack
            import yaml
        except ImportError:
            raise Missing(
                "neutron: openstacksdk is not installed here, and the spec has an `openstack:`"
                " section; install it with: pip install 'onearm[openstack]'"
            ) from None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the SDK's words to itself are not the operator's
                config = openstack.config.OpenStackConfig(app_name="onearm")
                region = config.get_one(cloud=self._cloud, **_environment(os.environ))
                self._clean.learn(region.config)
                made = openstack.connection.Connection(config=region)
            made.session.timeout = READ_S
        except (openstack.exceptions.SDKException, yaml.YAMLError, OSError, ValueError) as error:
            raise trouble("cannot log in", self.where, error, self._clean) from None
        except Exception as error:  # keystoneauth has no common root with the SDK here
            if not type(error).__module__.startswith("keystoneauth1"):
                raise
            raise trouble("cannot log in", self.where, error, self._clean) from None
        return made

    def base(self, service: str = "network") -> str | None:
        """Find a service's address in the catalogue; None where there is none."""
        connection = self._connected()
        with self._lock:
            if service not in self._bases:
                self._bases[service] = self._found(connection, service)
            return self._bases[service]

    def _found(self, connection: Any, service: str) -> str | None:
        from keystoneauth1 import exceptions as ka
        from openstack import exceptions as sdk

        try:
            if service == "network":
                found = connection.network.get_endpoint()
            else:
                found = connection.config.get_session_client(service).get_endpoint()
            self._clean.add(connection.session.get_token())
        except (ka.EndpointNotFound, ka.EmptyCatalog, sdk.NotSupported):
            found = None
        except (ka.ClientException, sdk.SDKException, OSError, ValueError) as error:
            raise trouble("cannot log in", self.where, error, self._clean) from None
        if not found:
            return None
        text = str(found).rstrip("/")
        # an endpoint_override without the version: Neutron has known one version since its birth
        plain = service == "network" and not urlsplit(text).path.rstrip("/").endswith("/v2.0")
        return f"{text}/v2.0" if plain else text

    def identity(self) -> tuple[str, tuple[str, ...]]:
        """Say which project and roles these credentials have; empty where the cloud does not."""
        connection = self._connected()
        self.base()
        try:
            access = connection.session.auth.get_access(connection.session)
            roles = tuple(str(role) for role in access.role_names)
            return str(connection.current_project_id or ""), roles
        except AttributeError:  # auth types without Keystone have no access to show
            return str(connection.current_project_id or ""), ()

    def get(self, what: str, path: str, service: str = "network", **query: Any) -> Json:
        """Read one thing; anything but success raises."""
        return self._parsed(what, self.call(what, "GET", path, query=query, service=service))

    def find(self, what: str, path: str, **query: Any) -> Json | None:
        """Read one thing that may be absent or hidden."""
        reply = self.call(what, "GET", path, query=query)
        if reply.status in (403, 404):
            return None
        return self._parsed(what, reply)

    def list(self, what: str, kind: str, **query: Any) -> list[Json]:
        """Read a whole collection, in pages."""
        rows: list[Json] = []
        marker: dict[str, str] = {}
        path = "/" + kind.replace("_", "-")
        while True:
            page = self.get(what, path, **query, **marker, limit=PAGE)
            found = page.get(kind)
            if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
                raise garbled(what, f"the answer has no list of {kind}")
            rows += found
            links = page.get(f"{kind}_links") or []
            if not found or not any(link.get("rel") == "next" for link in links):
                return rows
            marker = {"marker": str(found[-1].get("id", ""))}

    def send(
        self, what: str, method: str, path: str, body: Json | None = None, revision: int = -1
    ) -> Reply:
        """Send a change and return the answer, whatever its status; -1 asks for no revision."""
        headers = {} if revision < 0 else {"If-Match": f"revision_number={revision}"}
        return self.call(what, method, path, body=body, headers=headers)

    def refusal(self, what: str, reply: Reply) -> PlaceError:
        """Say why an answer is no success."""
        return refusal(what, reply.status, self._clean.clean(said(reply.body)))

    def words(self, reply: Reply) -> str:
        """Give the cloud's own sentence, without secrets."""
        return self._clean.clean(said(reply.body))

    def _parsed(self, what: str, reply: Reply) -> Json:
        if not reply.good:
            raise self.refusal(what, reply)
        return self.parsed(what, reply)

    def parsed(self, what: str, reply: Reply) -> Json:
        """Read the body as a JSON object."""
        try:
            found = json.loads(reply.body)
        except (ValueError, RecursionError):
            raise garbled(what, "the answer is not JSON") from None
        if not isinstance(found, dict):
            raise garbled(what, "the answer is no JSON object")
        return found

    def call(
        self,
        what: str,
        method: str,
        path: str,
        *,
        query: Json | None = None,
        body: Json | None = None,
        headers: dict[str, str] | None = None,
        service: str = "network",
    ) -> Reply:
        """Do one request; wait where the cloud asks for it, within the call's deadline."""
        base = self.base(service)
        if base is None:
            raise Missing(
                f"neutron: {what} ({self.where}): the catalogue has no {service} service;"
                " ask for a region or project that has one"
            )
        end = time.monotonic() + self._call_s
        tries = 0
        while True:
            if self._lost is not None:
                raise self._lost
            reply = self._once(what, method, base + path, query, body, headers, end)
            if reply.status not in WAIT_CODES:
                return reply
            wait = asked_wait(reply, tries)
            if time.monotonic() + wait >= end:
                return reply
            time.sleep(wait)
            tries += 1

    def _once(  # noqa: PLR0917 - one request, all its parts
        self,
        what: str,
        method: str,
        url: str,
        query: Json | None,
        body: Json | None,
        headers: dict[str, str] | None,
        end: float,
    ) -> Reply:
        import requests
        import urllib3
        from keystoneauth1 import exceptions as ka

        left = max(end - time.monotonic(), 0.1)
        began = time.monotonic()
        try:
            response = self._session().request(
                url,
                method,
                params=query or None,
                json=body,
                headers={"Accept": "application/json", **(headers or {})},
                raise_exc=False,
                log=False,
                redirect=False,
                stream=True,
                timeout=(min(CONNECT_S, left), min(READ_S, left)),
            )
            reply = Reply(response.status_code, whole(response, end), dict(response.headers))
        except (ka.ClientException, requests.RequestException, urllib3.exceptions.HTTPError,
                OSError, ValueError) as error:  # fmt: skip
            lost = trouble(what, self.where, error, self._clean)
            if isinstance(lost, Unreachable):
                self._lost = lost  # so that calls which wait in line end at once
            raise lost from None
        log.debug("%s %s: %s, %.0f ms", method, urlsplit(url).path, reply.status,
                  (time.monotonic() - began) * 1000)  # fmt: skip
        return reply

    def again(self) -> None:
        """Forget that the API was lost: a new verb may find it back."""
        self._lost = None

    def _session(self) -> Any:
        from keystoneauth1.session import Session

        shared = self._connected().session
        found = getattr(self._threads, "session", None)
        if found is None:
            found = Session(
                auth=shared.auth, verify=shared.verify, cert=shared.cert, app_name="onearm"
            )
            found.timeout = READ_S  # for logging in
            self._threads.session = found
        return found


def _environment(variables: Mapping[str, str]) -> Json:
    """Give the OS_* variables as the openstack client takes them: over what clouds.yaml says.

    The SDK by itself would keep them for a cloud of their own, which a named one leaves aside.
    """
    given = {k[3:].lower(): v for k, v in variables.items() if k.startswith("OS_") and v}
    auth = {key: value for key, value in given.items() if key in AUTH}
    rest = {f"os_{key}": value for key, value in given.items() if key not in (*AUTH, *FILES)}
    return {"argparse": argparse.Namespace(**rest), "auth": auth}


def path(*parts: str) -> str:
    """Build a path; no part can leave its place in it."""
    return "".join(f"/{quote(part, safe=':')}" for part in parts)
