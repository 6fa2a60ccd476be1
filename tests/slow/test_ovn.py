"""`lab up --cloud --enforce ovn`: real ML2/OVN between the hosts, real ip_vs, real Neutron."""

import os
import time
from pathlib import Path

import pytest
import yaml
from cloudlab import Talk, mine, started
from labs import EXAMPLES

from onearm.errors import Missing
from onearm.lab import client, ovn
from onearm.lab.cloud import install

SPEC = EXAMPLES / "openstack.yaml"
WANTED = yaml.safe_load(SPEC.read_text())
VIP = WANTED["services"][0]["vip"]
DIRECTOR, SERVERS = "server-1", ("server-2", "server-3")
CURL = f"curl -s -m 3 -w ' %{{http_code}} %{{time_connect}}' http://{VIP}/"
OTHER_PORT = "curl -s -m 2 http://203.0.113.4:8080/"


class Watch:
    """What OVN drops from one look to the next."""

    def __init__(self, lab):
        self.lab, self.before = lab, ovn.drops(lab.name)

    def since(self):
        now = ovn.drops(self.lab.name)
        found = {what: n - self.before.get(what, 0) for what, n in now.items()}
        self.before = now
        return {what: n for what, n in found.items() if n > 0}


def ask(lab, host="client"):
    """Open one connection with cold neighbours where the VIP is looked for: works, hangs, ..."""
    lab.sh("router" if host == "client" else host, "ip neigh flush dev eth0")
    *_, code, connected = lab.sh(host, CURL, check=False).split()
    return "works" if code == "200" else "hangs" if float(connected) else "timeout"


def settles(lab, wanted):
    """Give OVN the time to install what Neutron wrote; then say what the VIP does."""
    for _ in range(3):
        found = ask(lab)
        if found == wanted:
            break
        time.sleep(1)
    return found


def told(what, said, drops=()):
    """Print for the summary, which sorts: so each line says all."""
    counted = [f"{n} dropped in {stage} ({match})" for (stage, match), n in dict(drops).items()]
    print(f"proved: ml2/ovn: {what:<42} {'; '.join([said, *counted])}")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    try:
        ovn.need_tools()
        install.environment()
    except Missing as error:
        pytest.skip(str(error))
    name, began = f"lt-ovn-{os.getpid()}", time.monotonic()
    made = started(name, tmp_path_factory.mktemp("ovn"), "--enforce", "ovn")
    version = ovn.shell(name, "ovn-controller --version").splitlines()[0]
    where = f"{made.said['backend']}, kernel {made.said['kernel']}"
    told(where, f"Neutron {install.GENERATIONS[0]} and {version}")
    told("onearm lab up --cloud --enforce ovn", f"ready after {time.monotonic() - began:.1f} s")
    assert (made.said["cloud"]["enforce"], made.said["cloud"]["firewall"]) == ("ovn", "ovn")
    yield made
    client.down(name)
    assert not Path(made.said["directory"]).exists()
    assert mine(name) == []


@pytest.fixture(scope="module")
def hosts_only(lab):
    """The example's spec without its cloud."""
    rest = {key: value for key, value in WANTED.items() if key != "openstack"}
    return lab.spec(yaml.safe_dump(rest), "hosts.yaml")


def pairs(lab, director, server):
    """Set pairs by hand, as the reference does."""
    wanted = {DIRECTOR: director, **dict.fromkeys(SERVERS, server)}
    for host, addresses in wanted.items():
        lab.set_port(host, allowed_address_pairs=[{"ip_address": each} for each in addresses])


def test_a_lab_keeps_its_enforcement(lab):
    said = lab.onearm("lab", "up", "--cloud", code=2)
    assert "runs with --enforce ovn, not emulated; end it first" in said.err
    again = lab.onearm("lab", "up", "--cloud", "--enforce", "ovn", "--json", code=0).json()
    assert again["already"] and again["cloud"] == lab.said["cloud"]


def test_ovn_drops_what_the_hosts_alone_would_do(lab, hosts_only):
    lab.onearm("apply", hosts_only, "--yes", code=0)
    dropped_by_ovn(lab, "the hosts alone, no pairs")
    lab.onearm("verify", hosts_only, "--cold", code=5)
    told("the hosts alone; verify --cold", "exit 5")
    lab.onearm("destroy", hosts_only, "--yes", code=0)


def dropped_by_ovn(lab, what):
    watch = Watch(lab)
    assert ask(lab) == "timeout"
    drops = watch.since()
    told(what, "timeout", drops)
    assert any(stage == "ls_in_apply_port_sec" for stage, _ in drops)


def test_pairs_by_hand(lab, hosts_only):
    """The user-space conntrack takes half a connection for a whole one: the kernel's does not."""
    before = lab.snapshot()
    close = lab.admit(80)
    lab.onearm("apply", hosts_only, "--yes", code=0)
    cases = (
        ("real servers alone", (), (VIP,), "timeout"),
        ("the VIP everywhere, no clients' prefix", (VIP,), (VIP,), "timeout"),
        ("the reference's pairs, stateful groups", ("0.0.0.0/0",), (VIP,), "works"),
    )
    for what, director, server, wanted in cases:
        watch = Watch(lab)
        pairs(lab, director, server)
        time.sleep(1)
        found = settles(lab, wanted)
        told(what, found, watch.since())
        assert found == wanted, what
    # A pair for the world on a port of `default`, which admits its own members: no hole in OVN.
    watch = Watch(lab)
    assert lab.sh("neighbour", OTHER_PORT) and not lab.sh("client", OTHER_PORT, check=False)
    told("0.0.0.0/0 in `default`, its other ports", "closed to strangers", watch.since())
    pairs(lab, (), ())
    lab.onearm("destroy", hosts_only, "--yes", code=0)
    close()
    assert lab.snapshot() == before


@pytest.mark.parametrize("who", ["admin", "owner"])
def test_the_driver_is_read_where_rights_show_it(lab, who):
    """`binding:vif_details` says ovn to an administrator, and to nobody else."""
    text = SPEC.read_text().replace("cloud: owner", f"cloud: {who}")
    wrong = text.replace("director_groups: replace", 'director_port_security: "off"')
    wrong = wrong.replace("network:", "firewall: openvswitch\n  network:")
    said = [firewall_said(lab, each) for each in (text, wrong)]
    told(f"firewall: auto as {who}", said[0] or "ovn is read")
    if who == "admin":
        assert said == ["", "the spec says firewall: openvswitch, and this cloud shows ovn"]
    else:
        assert "is not shown to this identity" in said[0] and not said[1]


def firewall_said(lab, text):
    """Plan; return what is found about the driver."""
    plan = lab.onearm("plan", lab.spec(text), "--json", code=0).json()
    return "; ".join(f["observed"] for f in plan["findings"] if f["id"] == "firewall.driver")


def test_onearm_makes_it_work_and_takes_it_back(lab, hosts_only):
    before = lab.snapshot()
    talk = Talk(lab)
    lab.onearm("apply", SPEC, "--yes", code=0)
    began = time.monotonic()
    lab.onearm("verify", SPEC, "--cold", code=0)
    told("onearm apply; verify --cold", f"exit 0 after {time.monotonic() - began:.1f} s")
    for host in ("client", "neighbour"):
        watch = Watch(lab)
        assert ask(lab, host) == "works"
        told(f"onearm's choice, from the {host}", "works", watch.since())
    *_, first, second = lab.on("server-1", "ipvsadm", "-Ln", "--stats").splitlines()
    told(
        "ipvsadm --stats: Conns InPkts OutPkts",
        " | ".join(" ".join(r.split()[1:5]) for r in (first, second)),
    )
    used = ovn.shell(lab.name, "free -m").splitlines()[1].split()[2]
    told("the guest's memory in use", f"{used} MiB")
    assert ovn.virtual_parents(lab.name) == [lab.ports()[DIRECTOR]]
    told("the VIP's reservation in OVN", "a virtual port; the director its only parent")
    lab.onearm("plan", SPEC, "--check", code=0)
    lab.onearm("destroy", SPEC, "--yes", code=0)
    talk.close()
    told("a connection to the director's port 22", f"{talk.words} words, before to after")
    assert talk.alive and talk.words > 20
    assert lab.snapshot() == before
    told("onearm destroy", f"all {len(before)} ports, groups and rules are as before")
    lab.onearm("apply", hosts_only, "--yes", code=0)
    dropped_by_ovn(lab, "after destroy, the hosts alone again")
    lab.onearm("destroy", hosts_only, "--yes", code=0)
