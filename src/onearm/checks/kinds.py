"""Which class makes the probes of which kind."""

from __future__ import annotations

from onearm.checks.dns import Dns
from onearm.checks.http import Http
from onearm.checks.https import Https
from onearm.checks.icmp import Icmp
from onearm.checks.probe import Probe
from onearm.checks.script import Script
from onearm.checks.tcp import Tcp
from onearm.checks.tls import Tls
from onearm.checks.udp import Udp

KINDS: dict[str, type[Probe]] = {
    "tcp": Tcp,
    "http": Http,
    "https": Https,
    "tls": Tls,
    "udp": Udp,
    "dns": Dns,
    "script": Script,
    "icmp": Icmp,
}
