"""What a plan refuses in the cloud, and that the hole behind it is real when somebody forces it.

Each is planned from the command line against the lab's Neutron. Then it is done by hand, and shown
by traffic that must not pass and does, or by Neutron's own answer.
"""

import json
import os

import pytest
from cloudlab import settled, started
from labs import EXAMPLES

from onearm.errors import Missing
from onearm.lab import client
from onearm.lab.cloud import install
from onearm.lab.enforce import IPTABLES, MODES, OPENVSWITCH, OVN
from onearm.lab.topology import HOSTS

pytestmark = pytest.mark.lab
EXAMPLE = (EXAMPLES / "openstack.yaml").read_text()
REPLACE = "director_groups: replace"
KEEP = "manage_security_groups: false"
OTHER_PORT = "curl -s -m 1.5 http://203.0.113.4:8080/"
DIRECTOR = HOSTS["server-1"].wires[0].mac
WHO_HAS = """
import select, socket, sys
target = socket.inet_aton(sys.argv[1])
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
wire.bind(("eth0", 0))
mac = wire.getsockname()[4]
ends = mac + socket.inet_aton("203.0.113.1") + bytes(6) + target
wire.send(b"\\xff" * 6 + mac + bytes.fromhex("08060001080006040001") + ends)
while select.select([wire], [], [], 1)[0]:
    data = wire.recv(100)
    if data[20:22] == b"\\0\\2" and data[28:32] == target:
        print(data[22:28].hex(":"))
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    try:
        install.environment()
    except Missing as error:
        pytest.skip(str(error))
    made = started(f"lt-holes-{os.getpid()}", tmp_path_factory.mktemp("holes"))
    before = held(made)
    yield made
    assert held(made) == before  # each test takes back what it did
    client.down(made.name)


@pytest.fixture(scope="module")
def applied(lab):
    """The example in force, under iptables: for the tests at the end of this page."""
    path = spec(lab, IPTABLES, name="applied.yaml")
    lab.turn("--firewall", IPTABLES)
    lab.onearm("apply", path, "--yes", code=0)
    lab.turn("--firewall", IPTABLES)
    yield path
    lab.onearm("destroy", path, "--yes", code=0)


def held(lab):
    """List all ports, groups and rules, without what each write moves."""
    kinds = ("ports", "security_groups", "security_group_rules", "networks")
    rows = (row for kind in kinds for row in lab.api().list(kind))
    return {row["id"]: settled(row) for row in rows}


def spec(lab, firewall, *, groups=REPLACE, clients="", name="spec.yaml", **replaced):
    text = EXAMPLE.replace(REPLACE, f"{groups}\n  firewall: {firewall}")
    for old, new in replaced.items():
        text = text.replace(old, new)
    return lab.spec(f"clients: [{clients}]\n{text}" if clients else text, name)


def refused(lab, path, finding, *words):
    """Plan; it is exit 3 with this finding, which says all this."""
    done = lab.onearm("plan", path, "--json", code=3)
    (found,) = [f for f in done.json()["findings"] if f["id"] == finding]
    said = f"{found['observed']}; {found['cure']}"
    assert found["severity"] in ("critical", "error"), found
    assert [word for word in words if word not in said] == [], said
    print(f"proved: plan refuses {finding}: {said[:240]}")


def by_hand(lab, mode, *pairs):
    """Set the director's pairs, and return once they are in force."""
    lab.set_port("server-1", allowed_address_pairs=[{"ip_address": pair} for pair in pairs])
    lab.turn("--firewall", mode)


# --- a pair for the world, on a port whose group other rules refer to

WORLD, PARTS = ("0.0.0.0/0",), ("0.0.0.0/1", "128.0.0.0/2", "192.0.0.0/3")
HALVES = ("0.0.0.0/1", "128.0.0.0/1")  # Neutron 29 refuses the second, for the multicast in it
OPENS = {  # by WORLD, by PARTS
    IPTABLES: (True, True),
    OPENVSWITCH: (False, True),  # since Neutron 16 (LP 1867119), and for a /0 alone
    OVN: (False, False),  # its address sets hold the ports' own addresses
}


@pytest.mark.parametrize("mode", MODES)
def test_a_pair_for_the_world_in_a_group_that_is_referred_to(lab, mode):
    """Two halves do as the parts do: test_enforce_changes.py has them, as older Neutrons do."""
    by_hand(lab, mode)
    assert lab.sh("neighbour", OTHER_PORT), "a member of the group is always let in"
    assert not lab.sh("client", OTHER_PORT, check=False)
    for pairs in (WORLD, PARTS):
        expose(lab, mode, spec(lab, mode, groups=KEEP, clients=", ".join(pairs)))
    for pairs, opens in zip((WORLD, PARTS), OPENS[mode], strict=True):
        by_hand(lab, mode, *pairs)
        reached = bool(lab.sh("client", OTHER_PORT, check=False))
        said = "strangers reach server-2:8080" if reached else "strangers stay out"
        print(f"proved: {mode:16} {' + '.join(pairs)} forced on a port in `default`: {said}")
        assert reached == opens
    lab.set_port("server-1", allowed_address_pairs=[])
    if mode == IPTABLES:
        path = spec(lab, mode, groups=KEEP, clients=", ".join(HALVES))
        expose(lab, mode, path)
        refused(lab, path, "pairs.multicast", "128.0.0.0/1", "128.0.0.0/2 and 192.0.0.0/3")
        wanted = {"port": {"allowed_address_pairs": [{"ip_address": each} for each in HALVES]}}
        status, text = lab.ask("PUT", f"/ports/{lab.ports()['server-1']}", wanted, "owner")
        assert status == 400 and "overlaps with multicast" in text


def expose(lab, mode, path):
    """Plan: it says who is exposed and how to spell it; on OVN nobody is, and it is a note."""
    if mode == OVN:
        done = lab.onearm("plan", path, "--json", code=3).json()  # for the stateful group alone
        (found,) = [f for f in done["findings"] if f["id"] == "sg.wide_pair_referenced"]
        assert found["severity"] == "note"
        return
    words = ("anybody could reach the 4 ports in there", "neighbour, server-1, server-2, server-3",
             "director_groups: replace", "by prefix", "narrow `clients`")  # fmt: skip
    refused(lab, path, "sg.wide_pair_referenced", *words)


# --- what Neutron itself refuses


def test_stateful_and_stateless_groups_on_one_port(lab):
    path = spec(lab, IPTABLES, groups=f"# {REPLACE}")
    refused(lab, path, "sg.mixed", "'default'", "onearm-default-director", REPLACE)
    group = lab.api("owner").make("security_group", name="plain", stateful=False)["id"]
    both = {"port": {"security_groups": [lab.default(), group]}}
    status, text = lab.ask("PUT", f"/ports/{lab.ports()['server-1']}", both, "owner")
    lab.delete("security-groups", group)
    print(f"proved: forced, Neutron answers {status} {text[:160]}")
    assert status == 409 and "both stateful and stateless" in text


def test_more_pairs_than_a_port_may_have(lab):
    prefixes = [f"198.51.{n}.0/24" for n in range(100, 122, 2)]
    path = spec(lab, IPTABLES, clients=", ".join(prefixes))
    words = ("12 allowed address pairs", "10 are allowed", "join the prefixes of `clients`")
    refused(lab, path, "pairs.quota", *words)
    pairs = {"port": {"allowed_address_pairs": [{"ip_address": each} for each in prefixes]}}
    status, text = lab.ask("PUT", f"/ports/{lab.ports()['server-1']}", pairs, "owner")
    print(f"proved: forced, Neutron answers {status} {text[:160]}")
    assert status == 400 and "exceeds the maximum 10" in text


# --- an address that another port has


def test_a_vip_that_another_port_has(lab):
    """Two machines then answer for it."""
    taken = "203.0.113.10"
    path = spec(lab, IPTABLES, **{"203.0.113.2": taken})
    refused(lab, path, "vip.reserved_unbound", "(neighbour)", "compute:nova", "another VIP")
    owner = HOSTS["neighbour"].wires[0].mac
    assert answering(lab, taken) == {owner}
    lab.sh("server-1", f"ip address add {taken}/32 dev eth0")
    by_hand(lab, IPTABLES, taken)
    both = answering(lab, taken)
    by_hand(lab, IPTABLES)
    lab.sh("server-1", f"ip address del {taken}/32 dev eth0")
    print(f"proved: forced, {len(both)} machines answer for {taken}: {sorted(both)}")
    assert both == {owner, DIRECTOR}


def answering(lab, address):
    return set(lab.on("router", "python3", "-ISsc", WHO_HAS, address).split())


# --- with the example in force: the safer spelling


def test_the_safer_spelling_is_safe(lab, applied):
    """With director_groups: replace the pair is there, and opens nothing."""
    assert lab.web()
    assert not lab.sh("client", OTHER_PORT, check=False)
    again = spec(lab, IPTABLES, groups=KEEP)  # would bring `default` back
    refused(lab, again, "sg.wide_pair_referenced", "anybody could reach")


# --- a network of several segments

FAR = "up-q-server-3"  # the link of server-3's stage in the lab's bridge
NEAR = "up-q-server-1"


def test_a_network_of_several_segments(lab, applied):
    """A real server in another segment is reached by its own address, and never as a destination.

    Neutron shows a network's segments to administrators alone (get_network:segments).
    """
    network = several_segments(lab)
    try:
        path = spec(lab, IPTABLES, **{"cloud: owner": "cloud: admin", "network: provider":
                                      "network: several"})  # fmt: skip
        words = (
            "made of several segments",
            "may be in different ones",
            "hands frames to a MAC address",
        )
        refused(lab, path, "same_segment", *words)
    finally:
        for row in lab.api().list("ports", network_id=network):
            lab.delete("ports", row["id"])
        lab.delete("networks", network)
    try:
        assert served(lab) == {"server-2", "server-3"}
        for link in (NEAR, FAR):
            lab.sh("l2", f"bridge link set dev {link} isolated on")
        lab.sh("server-1", "ip neigh flush dev eth0")
        apart = served(lab)
        alone = lab.sh("client", "curl -s -m 2 http://203.0.113.5/")
        print(f"proved: forced, director and server-3 in two segments: {sorted(apart)} served,"
              f" and its own address answers: {alone.strip()}")  # fmt: skip
        assert apart == {"server-2", "nobody"} and alone.startswith("server-3")
    finally:
        for link in (NEAR, FAR):
            lab.sh("l2", f"bridge link set dev {link} isolated off")


def several_segments(lab):
    admin = lab.api()
    near = {"provider:network_type": "local"}
    far = {"provider:network_type": "flat", "provider:physical_network": "elsewhere"}
    network = admin.make("network", name="several", project_id="web", segments=[near, far])["id"]
    admin.make("subnet", network_id=network, project_id="web", ip_version=4,
               cidr="203.0.113.0/27", enable_dhcp=False)  # fmt: skip
    for number in (3, 4, 5):
        admin.make(
            "port", network_id=network, name=f"server-{number - 2}", project_id="web",
            fixed_ips=[{"ip_address": f"203.0.113.{number}"}], device_owner="compute:nova",
            device_id=f"far-{number}",
        )  # fmt: skip
    return network


def served(lab):
    """Ask the VIP four times; say who answered."""
    found = [lab.web(seconds=1.5).split() for _ in range(4)]
    return {words[0] if words else "nobody" for words in found}


# --- a group that others use


def test_a_group_that_others_use(lab, applied):
    """Its ports Neutron keeps it for; a rule that names it, Neutron silently deletes with it."""
    keep = spec(lab, IPTABLES, groups=KEEP)
    named = {row["name"]: row["id"] for row in lab.api().list("security_groups")}
    ours, neighbour = named["onearm-default-real-server"], lab.ports()["neighbour"]

    lab.set_port("neighbour", security_groups=[lab.default(), ours])
    refused(lab, keep, "sg.in_use", ours_name := "'onearm-default-real-server'", neighbour)
    status, text = lab.ask("DELETE", f"/security-groups/{ours}", None, "owner")
    print(f"proved: forced, Neutron answers {status} {text[:160]}")
    assert status == 409 and "in use" in text
    lab.set_port("neighbour", security_groups=[lab.default()])

    owner = lab.api("owner")
    theirs = owner.make("security_group", name="db")["id"]
    owner.make("security_group_rule", security_group_id=theirs, direction="ingress",
               protocol="tcp", remote_group_id=ours)  # fmt: skip
    refused(lab, keep, "sg.in_use", ours_name, "a rule of 'db'", "take them out of the group")
    assert "a rule of 'db'" in lab.onearm("destroy", applied, "--yes", code=3).err
    for host in ("server-2", "server-3"):
        lab.set_port(host, security_groups=[lab.default()])
    assert admitted(lab, theirs) == [ours]
    lab.delete("security-groups", ours)
    print(f"proved: forced, the group is gone, and of 'db' the rules {admitted(lab, theirs)}")
    assert admitted(lab, theirs) == []
    lab.delete("security-groups", theirs)


def admitted(lab, group):
    rules = json.loads(lab.ask("GET", f"/security-groups/{group}")[1])["security_group"]
    remote = (rule["remote_group_id"] for rule in rules["security_group_rules"])
    return [found for found in remote if found]
