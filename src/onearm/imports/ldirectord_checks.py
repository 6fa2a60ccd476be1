"""ldirectord's checks -> a check of a spec."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address

from onearm.imports import ldirectord_values as special
from onearm.imports import values, whole
from onearm.imports.found import Cannot, Check, Value, must
from onearm.imports.table import Gathered, Statement
from onearm.spec_load.probes import DOMAIN

INTERVAL, CHECK_TIMEOUT, NEGOTIATE_TIMEOUT = 10.0, 5.0, 30.0  # the tool's own defaults
CODES = "200-299"
LESS = "onearm does not speak {}: tcp asks whether the port answers, and no more"
ONLY = "onearm does not speak {} and asks no udp port blindly: nothing is checked"
SOMETIMES = "each check asks for all: connecting is a part of it"
OVER_UDP = "DNS is asked over UDP, also where the service is TCP"
PERL = "it is run as a program: let it begin with #!/usr/bin/perl and be executable"
ASKED = "nothing is asked with it here"
ADDRESS = "a spec wants one whole address here, and the answer to any other is no failure"
ARGUMENTS = ' "$ONEARM_VIP" {port} "$ONEARM_ADDRESS" {own}'


@dataclass(frozen=True)
class Told:
    """A virtual service, the port of a real server of it, its lines and the global ones."""

    at: str
    port: int
    own: int
    protocol: str
    lines: Gathered
    common: Gathered

    def value(self, key: str) -> Value | None:
        """Give what the service says, or else the file."""
        return self.lines.values.get(key, self.common.values.get(key))

    def note(self, key: str, why: str, *, differs: bool = True) -> None:
        """Say of a line that it is not carried."""
        level = self.lines if key in self.lines.origin else self.common
        one = level.origin.get(key, Statement(self.at, "check"))
        self.lines.note(one, why, differs=differs)


def check(told: Told) -> Check | None:
    """Make the check of a virtual service; None where nothing is asked."""
    kind, extra = _kind(told)
    for key in ("request", "receive"):
        if key in told.lines.values and key not in extra.get("used", ()):  # type: ignore[operator]
            told.note(key, ASKED, differs=False)
    extra.pop("used", None)
    if kind is None:
        return None
    made: dict[str, Value] = {"interval": INTERVAL, "fall": 1, "timeout": _timeout(told, kind)}
    for key in ("interval", "fall", "port"):
        given = told.value(f"check.{key}")
        made |= {} if given is None else {key: given}
    doubt = lambda why, differs: told.note("check.interval", why, differs=differs)  # noqa: E731
    keys = whole.check_keys(kind, made | extra, (told.own, told.protocol), doubt)
    return Check(keys)


def _timeout(told: Told, kind: str) -> float:
    """Give the timeout for this kind of check: either of two is the other's default."""
    negotiate, connect = told.value("negotiatetimeout"), told.value("checktimeout")
    if kind in {"http", "https", "dns"}:
        chosen = negotiate or connect or NEGOTIATE_TIMEOUT
    else:
        chosen = connect or negotiate or CHECK_TIMEOUT
    return float(str(chosen))


def _kind(told: Told) -> tuple[str | None, dict[str, Value]]:
    kind = str(told.lines.values.get("type", "negotiate"))
    if kind == "combined":
        told.note("type", SOMETIMES, differs=False)
    if kind in {"negotiate", "combined"}:
        return _negotiate(told)
    if kind == "connect":
        return ("tcp" if told.protocol == "tcp" else "icmp"), {}
    if kind == "ping":
        return "icmp", {}
    if kind in {"external", "external-perl"}:
        return _external(told, kind)
    return None, {}


def _external(told: Told, kind: str) -> tuple[str | None, dict[str, Value]]:
    command = told.lines.values.get("check.argv")
    if command is None:
        return None, {}
    if kind == "external-perl":
        told.note("check.argv", PERL, differs=False)
    line = "exec " + shlex.quote(str(command)) + ARGUMENTS.format(port=told.port, own=told.own)
    return "script", {"argv": ("/bin/sh", "-c", line)}


def _negotiate(told: Told) -> tuple[str | None, dict[str, Value]]:
    service = str(told.lines.values.get("service") or special.SERVICES.get(told.port, "none"))
    if service in {"http", "https"}:
        return service, _web(told)
    if service == "dns":
        return "dns", _names(told)
    if service == "none":
        return None, {}
    if told.protocol == "udp":
        told.note("service", ONLY.format(service))
        return None, {}
    told.note("service", LESS.format(service))
    return "tcp", {}


def _web(told: Told) -> dict[str, Value]:
    made: dict[str, Value] = {"codes": CODES, "used": ("request", "receive")}
    request = str(told.lines.values.get("request", "/"))
    try:
        made["path"] = values.path(request if request.startswith("/") else f"/{request}")
    except Cannot as reason:
        told.note("request", str(reason))
    for key in ("method", "host"):
        if f"check.{key}" in told.lines.values:
            made[key] = told.lines.values[f"check.{key}"]
    if "receive" in told.lines.values:
        try:
            must(made.get("method") != "HEAD", "an answer to HEAD has no body")
            made["body"] = values.searched(str(told.lines.values["receive"]))
        except Cannot as reason:
            told.note("receive", str(reason))
    return made


def _names(told: Told) -> dict[str, Value]:
    """Ask for an address, or for the name of one."""
    made: dict[str, Value] = {"used": ("request", "receive")}
    query = str(told.lines.values.get("request", ".")).removeprefix("/") or "."
    receive = str(told.lines.values.get("receive", ""))
    try:
        made["query"] = f"{IPv4Address(query).reverse_pointer}"
        made["record"] = "PTR"
    except AddressValueError:
        made["query"] = query if DOMAIN.fullmatch(query) else "."
        made["record"] = "A"
        if made["query"] != query:
            told.note("request", "no name that a spec allows here")
    fits = DOMAIN if made["record"] == "PTR" else re.compile(r"\d+\.\d+\.\d+\.\d+", re.ASCII)
    if told.protocol == "tcp":
        told.note("service", OVER_UDP)
    plain = receive.replace("\\.", ".")
    if receive and fits.fullmatch(plain) and _is_answer(plain, str(made["record"])):
        made["answer"] = plain
    elif "receive" in told.lines.values:
        told.note("receive", ADDRESS)
    return made


def _is_answer(text: str, record: str) -> bool:
    try:
        return record == "PTR" or bool(IPv4Address(text))
    except AddressValueError:
        return False
