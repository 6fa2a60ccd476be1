"""keepalived, ldirectord and ipvsadm fill a kernel's table; what is imported fills another so."""

import os

import pytest
from imported import FILES
from labs import Lab
from rounds import END, START
from runs import wait_for

from onearm.lab import client
from onearm.lab.topology import SECOND_DIRECTOR

pytestmark = pytest.mark.lab
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
        words = ("install", "-D", "-m", "0644", "/dev/stdin", f"/run/case/{name}")
        lab.on(SECOND_DIRECTOR, *words, stdin=text)


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
