"""keepalived, ldirectord and ipvsadm fill a kernel's table; what is imported fills another so."""

import os
import re

import pytest
from imported import CASES, FILES, found_in, tool_of
from labs import Lab
from runs import wait_for

from onearm.imports.found import notes_of
from onearm.lab import client
from onearm.lab.topology import SECOND_DIRECTOR
from onearm.model import IPV4
from onearm.spec_load.kinds import TIMEOUTS

pytestmark = pytest.mark.lab
START = {
    "keepalived": """
cd /run/case
setsid keepalived -n -l -C -i lb-1 -f $PWD/keepalived.conf -p /run/k.pid -c /run/c.pid >log 2>&1 &
echo $! >/run/balancer.pid
""",
    "ldirectord": """
mkdir -p /var/lock/subsys /run/lock/subsys
cd /run/case
setsid ldirectord /run/case/ldirectord.cf start >log 2>&1 </dev/null &
echo $! >/run/balancer.pid
""",
}
END = """
kill $(cat /run/balancer.pid)
while kill -0 $(cat /run/balancer.pid) 2>/dev/null; do sleep 0.05; done
ipvsadm -C
rm -rf /run/case
"""
# No check's packet leaves: so none is refused at once, and the table is whole for a while. (With
# `alpha` it would be empty until checks have succeeded, which is left out therefore.)
UNASKED = """
iptables-legacy -{0} OUTPUT -d 203.0.113.0/24 -j DROP
ip6tables-legacy -{0} OUTPUT -d 2001:db8:203::/64 -j DROP
"""
RULES = """\
-A -t 203.0.113.2:80 -s wrr
-a -t 203.0.113.2:80 -r 203.0.113.4:80 -g -w 3
-a -t 203.0.113.2:80 -r 203.0.113.5:80 -g -w 1
-A -t 203.0.113.2:443 -s mh -b mh-fallback,mh-port
-a -t 203.0.113.2:443 -r 203.0.113.4:443 -g -w 1
-A -u 203.0.113.2:53 -s sh -b sh-port
-a -u 203.0.113.2:53 -r 203.0.113.5:53 -g -w 0
"""
KEEPALIVED = """
virtual_server 203.0.113.2 80 {
    delay_loop 1
    lb_algo wrr
    lb_kind DR
    protocol TCP
    inhibit_on_failure
    real_server 203.0.113.4 80 {
        weight 3
        TCP_CHECK {
        }
    }
    real_server 203.0.113.5 80 {
        weight 2
        HTTP_GET {
            url {
                path /
                status_code 200
            }
        }
    }
}
virtual_server 203.0.113.2 53 {
    lb_algo sh
    sh-port
    lb_kind DR
    protocol UDP
    real_server 203.0.113.4 53 {
        PING_CHECK {
        }
    }
}
virtual_server 2001:db8:203::2 80 {
    delay_loop 1
    lb_algo rr
    lb_kind DR
    protocol TCP
    persistence_timeout 300
    persistence_granularity 64
    inhibit_on_failure
    real_server 2001:db8:203::4 80 {
        TCP_CHECK {
        }
    }
}
"""
BEHIND_NAT = """
virtual_server 203.0.113.2 8080 {
    delay_loop 1
    lb_algo rr
    lb_kind NAT
    protocol TCP
    real_server 203.0.113.4 80 {
        TCP_CHECK {
        }
    }
    real_server 203.0.113.5 443 {
        weight 2
        TCP_CHECK {
        }
    }
}
"""
LDIRECTORD = """
checkinterval=1
checktimeout=3
supervised=yes
logfile="/run/case/ld.log"
virtual=203.0.113.2:80
\treal=203.0.113.4:80 gate 4
\treal=203.0.113.5:80 gate
\tscheduler=wlc
\tservice=http
\trequest="/"
\tprotocol=tcp
virtual=203.0.113.2:443
\treal=203.0.113.4:443 gate
\tchecktype=connect
\tscheduler=sh
\tschedflags=sh-port
virtual=203.0.113.2:53
\treal=203.0.113.5:53 gate 2
\tchecktype=on
\tscheduler=rr
virtual=203.0.113.2:5353
\treal=203.0.113.4:5353 gate
\treal=203.0.113.5:5353 ipip 3
\tchecktype=on
\tscheduler=rr
\tprotocol=udp
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    lab = Lab(f"lt-import-{os.getpid()}", tmp_path_factory.mktemp("lab"))
    try:
        client.up(lab.name, (SECOND_DIRECTOR,))
        (lab.folder / "hosts").write_text(lab.on("server-1", "cat", "/etc/hosts"))
        yield lab
    finally:
        client.down(lab.name)


def table(lab, host):
    """The kernel's table as its owner's tool saves it, in an order of its own."""
    return sorted(lab.on(host, "ipvsadm", "-Sn").splitlines())


def imported(lab, tool, text, code=0):
    """Import a file, for the lab's hosts."""
    path, spec = lab.folder / FILES[tool], lab.folder / f"{tool}.yaml"
    path.write_text(text)
    spec.unlink(missing_ok=True)
    names = lab.folder / "hosts"
    words = ("--director", "server-1=203.0.113.3,2001:db8:203::3", "--names", names, "-o", spec)
    lab.onearm("import", tool, path, *words, code=code)
    spec.write_text(f"{spec.read_text()}reach: lab\n")
    return spec


def put(lab, files):
    for name, text in files.items():
        lab.on(
            SECOND_DIRECTOR,
            "install",
            "-D",
            "-m",
            "0644",
            "/dev/stdin",
            f"/run/case/{name}",
            stdin=text,
        )


def log(lab):
    return lab.sh(SECOND_DIRECTOR, "cat /run/case/*log", check=False)


# --- what the table is, becomes a spec that leaves it alone


def test_a_table_becomes_a_spec_that_has_nothing_to_do_there(lab):
    lab.on("server-1", "ipvsadm", "-R", stdin=RULES.encode())
    before = table(lab, "server-1")
    assert before == sorted(RULES.splitlines())
    spec = imported(lab, "ipvsadm", lab.on("server-1", "ipvsadm", "-Sn"))
    try:
        actions = lab.onearm("plan", spec, "--json", code=0).json()["actions"]
        here = [action for action in actions if action["place"] == "server-1"]
        kinds = {(action["after"] or action["before"])["is"] for action in here}
        assert kinds.isdisjoint({"Service", "Destination"}), kinds
        assert "AnnouncedVip" in kinds
        lab.onearm("apply", spec, "--adopt", "--yes", code=0)
        assert table(lab, "server-1") == before
        left = lab.onearm("plan", spec, "--json", code=0).json()["actions"]
        assert {action["after"]["is"] for action in left} <= {"Sysctl"}, "now that they are ours"
        lab.onearm("apply", spec, "--yes", code=0)
        assert not lab.onearm("plan", spec, "--json", code=0).json()["actions"]
        assert table(lab, "server-1") == before
    finally:
        lab.onearm("destroy", spec, "--yes", code=0)
        lab.on("server-1", "ipvsadm", "-C")


@pytest.mark.parametrize(
    ("tool", "text", "code"), [("keepalived", KEEPALIVED, 5), ("ldirectord", LDIRECTORD, 0)]
)
def test_applied_to_an_empty_director_it_gives_the_table_that_the_tool_gives(lab, tool, text, code):
    compared(lab, tool, text, code)


def test_nat_is_applied_as_the_tool_has_it_where_the_director_is_the_gateway(lab):
    replace = "ip route replace default via 203.0.113.{}"
    try:
        for host in ("server-2", "server-3"):
            lab.sh(host, replace.format(3))
        compared(lab, "keepalived", BEHIND_NAT, 0)
    finally:
        for host in ("server-2", "server-3"):
            lab.sh(host, replace.format(1))


def compared(lab, tool, text, code):
    """Import and apply a file on one director, and let its own tool fill another one's table."""
    spec = imported(lab, tool, text, code)
    put(lab, {FILES[tool]: text.encode()})
    lab.sh(SECOND_DIRECTOR, START[tool])
    try:
        assert table(lab, "server-1") == []
        lab.onearm("apply", spec, "--yes", code=0)
        made = table(lab, "server-1")
        wait_for(
            lambda: table(lab, SECOND_DIRECTOR) == made,
            lambda: f"{table(lab, SECOND_DIRECTOR)} is not {made}\n{log(lab)}",
        )
        assert len(made) == text.count("virtual_server ") + text.count("virtual=") + len(
            [line for line in text.split("\n") if line.strip().startswith("real")]
        )
    finally:
        lab.onearm("destroy", spec, "--yes", code=0)
        lab.sh(SECOND_DIRECTOR, END)


# --- each case that is carried whole, in keepalived's own kernel

WHOLE = [
    case
    for case in CASES
    if tool_of(case) == "keepalived" and not any(note.differs for note in notes_of(found_in(case)))
]


OPTIONS = {"tcp": "-t", "udp": "-u", "sctp": "--sctp-service"}
METHODS = {"direct": "-g", "masq": "-m", "tunnel": "-i"}


def saved(found):
    """Write what a spec's services are in the kernel, as ipvsadm saves it."""
    for one in found.services:
        keys = dict(one.keys)
        name = f"{OPTIONS[one.protocol]} {end(one.vip, one.port)}"
        named = [flag for flag in keys.get("flags", ()) if flag != "ops"]
        flags = f" -b {','.join(named)}" if named else ""
        flags += " -o" if "ops" in keys.get("flags", ()) else ""
        stay = dict(keys.get("persistence", ()))
        flags += f" -p {stay['timeout'].removesuffix('s')}" if stay else ""
        flags += f" -M {stay['netmask']}" if "netmask" in stay else ""
        yield f"-A {name} -s {keys['scheduler']}{flags}"
        for server in one.servers:
            to = end(server.address, server.port or one.port)
            how = f"{METHODS[server.way.method]} -w {server.weight}{tunnel(server.way)}"
            yield f"-a {name} -r {to} {how}"


def end(address, port):
    return f"{address}:{port}" if address.version == IPV4 else f"[{address}]:{port}"


def tunnel(way):
    """Write what ipvsadm says of a tunnel: that it has no checksum, where it could have one."""
    if not way.tunnel:
        return ""
    port = f" --tun-port {way.port}" if way.port else ""
    return f" --tun-type {way.tunnel}{port}" + (" --tun-nocsum" if way.tunnel != "ipip" else "")


@pytest.mark.parametrize("case", WHOLE, ids=lambda case: case.name)
def test_keepalived_itself_fills_the_table_as_the_import_has_it(lab, case):
    files = {str(f.relative_to(case)): f.read_bytes() for f in case.rglob("*") if f.is_file()}
    put(lab, {name: re.sub(rb"(?m)^ *alpha$", b"", data) for name, data in files.items()})
    lab.sh(SECOND_DIRECTOR, UNASKED.format("A") + START["keepalived"])
    try:
        expected = sorted(saved(found_in(case)))
        wait_for(
            lambda: table(lab, SECOND_DIRECTOR) == expected,
            lambda: f"{table(lab, SECOND_DIRECTOR)} is not {expected}\n{log(lab)}",
        )
        if seconds := dict(found_in(case).timeouts):
            kept = lab.on(SECOND_DIRECTOR, "ipvsadm", "-ln", "--timeout")
            assert kept.split(": ")[1].split() == [str(seconds[key]) for key in TIMEOUTS]
    finally:
        lab.sh(SECOND_DIRECTOR, UNASKED.format("D") + END)


def test_there_are_cases_that_are_carried_whole():
    assert len(WHOLE) >= 6
    names = {case.name for case in WHOLE}
    assert {f"keepalived-{n}" for n in ("templates", "forwarding", "ipv6", "sctp")} <= names
