"""Every directive of ldirectord.cf: what it becomes in a spec, or why it does not."""

from __future__ import annotations

from onearm.imports import ldirectord_values as special
from onearm.imports import values
from onearm.imports.table import Row, table
from onearm.spec_load.checks import MOST_TIMES

G, V = "global", "virtual"
BOTH = f"{G} {V}"
MAIL = "onearm sends no mail: alerts come from its metrics"
HOOK = "onearm runs no script when something changes: its log and metrics say it"
DAEMON = "how the old daemon ran: a spec says nothing of it"
LOGIN = "onearm's checks do not log in"

ROWS = (
    Row(
        "file", "virtual virtual6", "vip, port", "an address with a port", read=special.line, most=0
    ),
    Row(
        V,
        "real real6",
        "real_servers, forwarding, port, upper, lower",
        "a port of its own behind masq",
        read=special.line,
        most=0,
    ),
    Row(V, "protocol", "protocol", "tcp and udp", read=values.protocol),
    Row(V, "scheduler", "scheduler", read=values.scheduler),
    Row(V, "schedflags", "flags", read=special.flags),
    Row(V, "persistent", "persistence", read=special.digits(values.persistence), most=0),
    Row(V, "netmask", "persistence.netmask", read=values.netmask),
    Row(V, "ops", "ops", "becomes a flag; udp only", read=values.flag, most=0),
    Row(BOTH, "quiescent", "on_failure", read=values.flag, most=0),
    Row(
        BOTH,
        "fallback fallback6",
        "sorry_server, forwarding",
        "with the VIP's port",
        read=special.line,
        most=0,
    ),
    Row(BOTH, "fallbackcommand", why=HOOK),
    Row(G, "callback execute", why=DAEMON),
    Row(G, "maintenancedir", why="`onearm drain HOST` takes a real server out by hand"),
    Row(G, "readdquiescent", why="a real server that fails stays as `on_failure` says"),
    Row(BOTH, "cleanstop", why="the daemon leaves the table as it is; `onearm destroy` clears it"),
    Row(BOTH, "emailalert emailalertfreq emailalertstatus smtp", why=MAIL),
    Row(G, "emailalertfrom", why=MAIL),
    Row(G, "autoreload logfile supervised fork", why=DAEMON),
    Row(V, "monitorfile", why="the daemon's log has every change with its reason"),
    Row(V, "servicename comment", why="a spec has comments: write it as one"),
    # Checks
    Row(V, "checktype", "check.kind", read=special.checktype),
    Row(V, "service", "check.kind", "http, https, dns; tcp for others", read=special.service),
    Row(BOTH, "checkinterval", "check.interval", read=special.digits(values.interval), most=0),
    Row(
        BOTH,
        "checktimeout negotiatetimeout",
        "check.timeout",
        read=special.digits(values.timeout),
        most=0,
    ),
    Row(
        BOTH,
        "failurecount",
        "check.fall",
        read=special.digits(values.counted(1, MOST_TIMES)),
        most=0,
    ),
    Row(BOTH, "checkcount", why="each check asks once: `fall` says how many may fail"),
    Row(V, "checkport", "check.port", read=special.digits(values.one_port), most=0),
    Row(V, "checkcommand", "check.argv", "through /bin/sh", read=special.command, most=0),
    Row(V, "request", "check.path, query", "http, https, dns", read=special.text, most=0),
    Row(V, "receive", "check.body, answer", "a spec's patterns", read=special.text, most=0),
    Row(V, "httpmethod", "check.method", read=special.method),
    Row(V, "virtualhost", "check.host", read=special.host, most=0),
    Row(V, "login passwd database secret", why=LOGIN, differs=True),
    Row(V, "load", why="the old daemon itself makes nothing of it"),
)
SPLIT = tuple(row._replace(word=word) for row in ROWS for word in row.word.split())
# Values that one keyword has under a name of its own, where several become one key of the spec.
OWN = {
    "fallback": "fallback",
    "fallback6": "fallback6",
    "checktype": "type",
    "service": "service",
    "checktimeout": "checktimeout",
    "negotiatetimeout": "negotiatetimeout",
    "request": "request",
    "receive": "receive",
}
TABLE = table(row._replace(to=OWN.get(row.word, row.to)) for row in SPLIT)
