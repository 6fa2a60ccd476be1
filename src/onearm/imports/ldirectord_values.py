"""Values that only ldirectord writes so: quoted texts, kinds of checks, service names."""

from __future__ import annotations

import re

from onearm.imports import values
from onearm.imports.found import Cannot, Value, must
from onearm.imports.table import Reader, Statement
from onearm.spec_load.fields import HIGHEST_PORT
from onearm.spec_load.probes import LONGEST_FILE

QUOTED = re.compile(r'"(.*)"')
SERVICES = {  # what is spoken on a port where nothing is said
    21: "ftp",
    25: "smtp",
    53: "dns",
    80: "http",
    110: "pop",
    119: "nntp",
    143: "imap",
    389: "ldap",
    443: "https",
    587: "submission",
    636: "ldaps",
    993: "imaps",
    995: "pops",
    1521: "oracle",
    1812: "radius",
    3128: "http_proxy",
    3306: "mysql",
    5060: "sip",
    5432: "pgsql",
}
PORTS = {name: port for port, name in SERVICES.items()} | {
    "ftp-data": 20,
    "ssh": 22,
    "telnet": 23,
    "domain": 53,
    "www": 80,
    "pop3": 110,
    "pop3s": 995,
    "ntp": 123,
    "syslog": 514,
    "sip-tls": 5061,
    "postgresql": 5432,
    "http-alt": 8080,
    "webcache": 8080,
    "kerberos": 88,
    "sunrpc": 111,
    "imap2": 143,
    "snmp": 161,
    "snmp-trap": 162,
    "submissions": 465,
    "rsync": 873,
    "ftps": 990,
    "openvpn": 1194,
    "ms-sql-s": 1433,
    "radius-acct": 1813,
    "nfs": 2049,
    "svn": 3690,
    "xmpp-client": 5222,
    "amqp": 5672,
    "x11": 6000,
}
TYPES = ("connect", "external", "external-perl", "negotiate", "off", "on", "ping")
SPOKEN = (*SERVICES.values(), "none", "simpletcp")


def line(statement: Statement) -> Value:
    """Take the whole line; it is read when the service is known."""
    return statement.rest


def text(statement: Statement) -> Value:
    """Read a quoted text, as it is."""
    found = QUOTED.search(statement.rest)
    if not found or not found[1]:
        raise Cannot("a text in double quotes belongs here")
    return found[1]


def digits(read: Reader) -> Reader:
    """Make a reader of the first digits, which are all that the tool takes of `5 seconds`."""

    def reader(statement: Statement) -> Value:
        found = re.search(r"[0-9]+", statement.rest)
        must(found is not None, "no number")
        return read(statement._replace(words=(found[0],) if found else ()))

    return reader


def host(statement: Statement) -> Value:
    return values.domain(statement._replace(words=(statement.rest.strip('"'),)))


def method(statement: Statement) -> Value:
    found = values.first(statement).upper()
    if found not in {"GET", "HEAD"}:
        raise Cannot("GET or HEAD belongs here")
    return found


def checktype(statement: Statement) -> Value:
    found = values.first(statement)
    if values.NUMBER.fullmatch(found):
        return "combined"
    if found not in TYPES:
        raise Cannot(f"a check is one of {', '.join(TYPES)} here, or a number")
    return found


def service(statement: Statement) -> Value:
    found = values.first(statement)
    if found not in SPOKEN:
        raise Cannot("no service that is known here")
    return found


def flags(statement: Statement) -> Value:
    return tuple(values.first(statement).split(","))


def command(statement: Statement) -> Value:
    """Read the path of a check's program."""
    found = statement.rest.strip('"')
    if not found.startswith("/") or not found.isprintable() or len(found) > LONGEST_FILE // 2:
        raise Cannot("a spec's scripts begin with a whole path")
    return found


def port(word: str) -> int:
    """Read a port by its number or name; none is 0."""
    return PORTS[word] if word in PORTS else values.number(word or "0", 0, HIGHEST_PORT)
