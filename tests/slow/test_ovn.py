"""Real ML2/OVN between the lab's hosts, real ip_vs on them, real Neutron: onearm's whole answer."""

import json
import os
import time

import openstack
import pytest
import yaml
from labs import EXAMPLES, Lab

from onearm.errors import Missing
from onearm.lab import client, ovn
from onearm.lab.cloud import files, install
from onearm.lab.cloud.ovn import OvnServer
from onearm.lab.topology import GUARDED, HOSTS

SPEC = EXAMPLES / "openstack.yaml"
WANTED = yaml.safe_load(SPEC.read_text())
OWNER = next(i for i in files.IDENTITIES if i.name == WANTED["openstack"]["cloud"])
VIP = WANTED["services"][0]["vip"]
DIRECTOR, SERVERS = "server-1", ("server-2", "server-3")
MOVES = ("revision_number", "updated_at", "location")
CURL = f"curl -s -m 3 -w ' %{{http_code}} %{{time_connect}}' http://{VIP}/"
READY_S = 60
ECHO = """
import os, socket
open("/run/echo.pid", "w").write(str(os.getpid()))
ear = socket.create_server(("203.0.113.3", 22))
wire, _ = ear.accept()
while data := wire.recv(100):
    wire.sendall(data)
"""
TALK = """
import os, socket, time
open("/run/talk.pid", "w").write(str(os.getpid()))
heard = open("/run/echoes", "wb", buffering=0)
for _ in range(100):
    try:
        wire = socket.create_connection(("203.0.113.3", 22), 1)
        break
    except OSError:
        time.sleep(0.1)
wire.settimeout(None)
while True:
    wire.sendall(b".")
    heard.write(wire.recv(1) or exit())
    time.sleep(0.05)
"""
pytestmark = pytest.mark.filterwarnings("ignore")  # the SDK's words to itself


class Cloud:
    """The reference's network in a Neutron that drives the lab's OVN."""

    def __init__(self, server):
        self.server = server
        self.admin = openstack.connect(cloud="admin").network
        self.owner = openstack.connect(cloud=OWNER.name).network
        self.ports = {}

    def build(self):
        """Make the network, and the ports with the lab hosts' MACs and addresses."""
        admin, mine = self.admin, {"project_id": OWNER.project}
        self.network = admin.create_network(
            name=WANTED["openstack"]["network"],
            provider_network_type="flat",
            provider_physical_network=ovn.PHYSICAL,
            **mine,
        )
        subnet = {"cidr": "203.0.113.0/27", "gateway_ip": "203.0.113.1", "enable_dhcp": False}
        admin.create_subnet(network_id=self.network.id, ip_version=4, **subnet, **mine)
        for host in GUARDED:
            made = admin.create_port(
                name=host,
                network_id=self.network.id,
                fixed_ips=[{"ip_address": HOSTS[host].addresses[0][0].split("/")[0]}],
                mac_address=HOSTS[host].wires[0].mac,
                device_owner="compute:nova",
                device_id=f"vm-{host}",
                binding_host_id=ovn.COMPUTE,
                **mine,
            )
            self.ports[host] = made.id

    def wait(self):
        """Wait until OVN has bound every port and said so to Neutron."""
        until = time.monotonic() + READY_S
        while {self.admin.get_port(port).status for port in self.ports.values()} != {"ACTIVE"}:
            assert time.monotonic() < until, "OVN never said that the ports are up"
            time.sleep(0.1)

    def snapshot(self):
        """All that Neutron holds, but for what each write moves."""
        kinds = (self.admin.ports, self.admin.security_groups, self.admin.security_group_rules)
        rows = [sorted((settled(row.to_dict()) for row in kind()), key=_id) for kind in kinds]
        return json.loads(json.dumps(rows, sort_keys=True, default=str))

    def allow(self, protocol, port):
        """Open a port in `default`; return the rule's id."""
        group = self.admin.get_port(self.ports[DIRECTOR]).security_group_ids[0]
        opened = {"protocol": protocol, "port_range_min": port, "port_range_max": port}
        made = self.owner.create_security_group_rule(
            security_group_id=group, direction="ingress", ether_type="IPv4", **opened
        )
        return made.id

    def pairs(self, director, server):
        """Set pairs by hand, as the reference does."""
        wanted = {DIRECTOR: director, **dict.fromkeys(SERVERS, server)}
        for host, addresses in wanted.items():
            pairs = [{"ip_address": address} for address in addresses]
            self.owner.update_port(self.ports[host], allowed_address_pairs=pairs)


def _id(row):
    return row["id"]


def settled(row):
    kept = {name: value for name, value in row.items() if name not in MOVES}
    if kept.get("security_group_rules"):
        kept["security_group_rules"] = sorted(map(settled, kept["security_group_rules"]), key=_id)
    return kept


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
    name = f"lt-ovn-{os.getpid()}"
    try:
        ovn.need_tools()
        install.environment()
    except Missing as error:
        pytest.skip(str(error))
    began = time.monotonic()
    info = client.up(name)
    try:
        ovn.switch(name)
        took = time.monotonic() - began
        version = ovn.shell(name, "ovn-controller --version").splitlines()[0]
        told(f"{info.backend}, kernel {info.kernel}", f"{version} after {took:.1f} s")
        yield Lab(name, tmp_path_factory.mktemp("ovn"))
    finally:
        client.down(name)


@pytest.fixture(scope="module")
def cloud(lab, tmp_path_factory):
    began = time.monotonic()
    with OvnServer(tmp_path_factory.mktemp("neutron"), lab.name) as server:
        os.environ["OS_CLIENT_CONFIG_FILE"] = str(server.clouds_yaml)
        made = Cloud(server)
        made.build()
        ovn.plug(lab.name, made.ports)
        made.wait()
        took = time.monotonic() - began
        up = f"up after {server.started_s:.1f} s, its ports after {took:.1f} s"
        told(f"Neutron {server.generation}, ML2/OVN", up)
        yield made
    del os.environ["OS_CLIENT_CONFIG_FILE"]


@pytest.fixture(scope="module")
def hosts_only(lab):
    """The example's spec without its cloud."""
    rest = {key: value for key, value in WANTED.items() if key != "openstack"}
    return lab.spec(yaml.safe_dump(rest), "hosts.yaml")


@pytest.fixture
def ssh(lab, cloud):
    """A connection to the director's port 22, as one who works there has: counts its echoes."""
    rule = cloud.allow("tcp", 22)
    lab.on("server-1", "setsid", "-f", "python3", "-ISsc", ECHO)
    lab.on("client", "setsid", "-f", "python3", "-ISsc", TALK)

    def lives():
        before = echoes()
        until = time.monotonic() + 10
        while echoes() < before + 5:
            assert time.monotonic() < until, f"the connection to port 22 is dead: {echoes()}"
            time.sleep(0.2)

    def echoes():
        return int(lab.sh("client", "wc -c </run/echoes", check=False).strip() or 0)

    lives()
    yield lives
    lab.sh("client", "kill $(cat /run/talk.pid)", check=False)
    lab.sh("server-1", "kill $(cat /run/echo.pid)", check=False)
    cloud.owner.delete_security_group_rule(rule)


def test_ovn_drops_what_the_hosts_alone_would_do(lab, cloud, hosts_only):
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


def test_pairs_by_hand(lab, cloud, hosts_only):
    """The user-space conntrack takes half a connection for a whole one: the kernel's does not."""
    before = cloud.snapshot()
    rule = cloud.allow("tcp", 80)
    lab.onearm("apply", hosts_only, "--yes", code=0)
    cases = (
        ("real servers alone", (), (VIP,), "timeout"),
        ("the VIP everywhere, no clients' prefix", (VIP,), (VIP,), "timeout"),
        ("the reference's pairs, stateful groups", ("0.0.0.0/0",), (VIP,), "works"),
    )
    for what, director, server, wanted in cases:
        watch = Watch(lab)
        cloud.pairs(director, server)
        time.sleep(1)
        found = settles(lab, wanted)
        told(what, found, watch.since())
        assert found == wanted, what
    cloud.pairs((), ())
    lab.onearm("destroy", hosts_only, "--yes", code=0)
    cloud.owner.delete_security_group_rule(rule)
    assert cloud.snapshot() == before


def test_onearm_makes_it_work_and_takes_it_back(lab, cloud, hosts_only, ssh):
    before = cloud.snapshot()
    lab.onearm("apply", SPEC, "--yes", code=0)
    ssh()
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
    assert ovn.virtual_parents(lab.name) == [cloud.ports[DIRECTOR]]
    told("the VIP's reservation in OVN", "a virtual port; the director its only parent")
    lab.onearm("plan", SPEC, "--check", code=0)
    lab.onearm("destroy", SPEC, "--yes", code=0)
    ssh()
    told("a connection to the director's port 22", "lives before, between and after")
    assert cloud.snapshot() == before
    told("onearm destroy", "Neutron's ports, groups and rules are as before")
    lab.onearm("apply", hosts_only, "--yes", code=0)
    dropped_by_ovn(lab, "after destroy, the hosts alone again")
    lab.onearm("destroy", hosts_only, "--yes", code=0)
