"""What a cloud's API refuses, fails or garbles, said once: what, where, why, what to do."""

from __future__ import annotations

import json
from typing import Any

from onearm.errors import Denied, Missing, PlaceError, Unreachable

SHOWN = 300  # characters of the cloud's own words
SECRET_WORDS = ("password", "secret", "token", "passcode", "assertion")
SHORTEST = 4  # what is shorter is no secret, and would garble the sentence

CURES = {
    400: "the cloud takes this request for invalid: compare the spec with what it says",
    401: "renew the credentials of this cloud, then try again",
    403: "let the network's owner or an administrator do it"
    " (`onearm plan SPEC --commands --as-admin` prints the commands), or use rights that may",
    404: "it was removed meanwhile, or these rights do not show it: run plan again",
    409: "look at it with the openstack client, then run plan again",
    412: "somebody else changes it at this moment: try again",
    413: "raise the project's quota, or remove what is not used",
    429: "the cloud asks for fewer requests: try again later",
}
BUSY = "the cloud's API is out of order or overloaded: try again later, or tell its operator"

# By class name: the exceptions of keystoneauth and openstacksdk are imported only when raised.
SETUP = {
    "ConfigException": "check the cloud's name and clouds.yaml (`openstack configuration show`)",
    "MissingRequiredOptions": "complete clouds.yaml, or set the OS_* variables",
    "MissingAuthPlugin": "complete clouds.yaml, or set the OS_* variables",
    "NoMatchingPlugin": "use an auth_type that is installed",
    "AuthPluginException": "check the auth section of clouds.yaml",
    "OpenStackConfigException": "check the cloud's name and clouds.yaml",
    "OpenStackConfigVersionException": "check clouds.yaml",
    "ScannerError": "clouds.yaml is not YAML: repair it",
    "ParserError": "clouds.yaml is not YAML: repair it",
    "EndpointNotFound": "use a project or region whose catalogue has a network service",
    "EmptyCatalog": "log in with a project: an unscoped token has no services",
    "DiscoveryFailure": "check auth_url and the network service's address",
    "NotSupported": "the cloud's network service has no version 2.0",
}


class Redactor:
    """Takes secrets out of texts. It shows none of them itself."""

    def __init__(self) -> None:
        """Know no secret yet."""
        self._secrets: set[str] = set()

    def learn(self, auth: Any) -> None:
        """Keep what a configuration holds under telling names."""
        for key, value in auth.items() if isinstance(auth, dict) else ():
            if isinstance(value, dict):
                self.learn(value)
            elif isinstance(value, str) and any(word in key.lower() for word in SECRET_WORDS):
                self.add(value)

    def add(self, secret: str | None) -> None:
        """Keep one more."""
        if secret and len(secret) >= SHORTEST:
            self._secrets.add(secret)

    def clean(self, text: str) -> str:
        """Return one line without secrets, control characters and excess."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return line if len(line) <= SHOWN else line[: SHOWN - 1] + "…"


def said(body: bytes) -> str:
    """Find the cloud's own sentence in an error's body; empty where it has none."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    while isinstance(found, dict):
        for key in ("message", "NeutronError", "error", "detail"):
            if found.get(key):
                found = found[key]
                break
        else:
            found = next((v for v in found.values() if isinstance(v, (dict, str))), "")
    return found if isinstance(found, str) else ""


def refusal(what: str, status: int, words: str) -> PlaceError:
    """Turn a status that is no success into one sentence."""
    why = words or f"HTTP {status}"
    text = f"neutron: {what}: {why.rstrip('.')} (HTTP {status}); {CURES.get(status, BUSY)}"
    if status == 429 or status >= 500:  # noqa: PLR2004 - HTTP's own numbers
        return Unreachable(text)
    return Denied(text)


def trouble(what: str, where: str, error: BaseException, clean: Redactor) -> PlaceError:
    """Turn an exception of the libraries below into one sentence."""
    names = [kind.__name__ for kind in type(error).__mro__]
    words = clean.clean(_words(error))
    status = getattr(error, "http_status", None) or getattr(error, "status_code", None)
    if isinstance(status, int) and status >= 400:  # noqa: PLR2004
        return refusal(f"{what} ({where})", status, words)
    for name in names:
        if name in SETUP:
            return Missing(f"neutron: {what} ({where}): {words.rstrip('.')}; {SETUP[name]}")
    late = any("Timeout" in name for name in names)
    why = "no answer in time" if late else words.rstrip(".")
    return Unreachable(
        f"neutron: {what} ({where}): {why}; check that this machine reaches the cloud's API"
        " (`openstack network list`), and try again"
    )


def _words(error: BaseException) -> str:
    """Take the innermost reason, for the outer ones only wrap it."""
    text = str(error) or type(error).__name__
    for mark in ("Name or service not known", "name resolution", "No address associated"):
        if mark in text:
            return f"the name of the API's host is not known ({mark})"
    if "Connection refused" in text:
        return "connection refused"
    return text


def garbled(what: str, why: str) -> PlaceError:
    """Say that an answer came and is none."""
    return Unreachable(
        f"neutron: {what}: {why}, so nothing is known of its outcome; a proxy may stand in front of"
        " the API: try again, the next run repairs what was left half done"
    )
