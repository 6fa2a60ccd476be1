"""The whole product in a lab whose cloud is a real Neutron: port security, drivers, rights."""

import json
import os
import re
import signal
import time
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
from cloudlab import Talk, mine, started
from labs import EXAMPLES, REFERENCE

from onearm import probe, proof
from onearm import spec as specs
from onearm.errors import Missing
from onearm.lab import client, ovn
from onearm.lab.cloud import install
from onearm.lab.enforce import IPTABLES, MODES, OPENVSWITCH, OVN
from onearm.reach import lab_prefix
from onearm.session import Session

pytestmark = pytest.mark.lab
EXAMPLE = EXAMPLES / "openstack.yaml"
CONSENT = '  director_port_security: "off"\n'
EVERYTHING = {"ip_address": "0.0.0.0/0"}
HIS = {"ip_address": "203.0.113.2/32"}


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A lab with its cloud, for the whole module."""
    try:
        install.environment()
    except Missing as error:
        pytest.skip(str(error))
    name = f"lt-cloud-{os.getpid()}"
    begun = time.monotonic()
    made = started(name, tmp_path_factory.mktemp("cloud"))
    print(f"proved: lab {name} and its cloud up after {time.monotonic() - begun:.1f} s")
    yield made
    client.down(name)
    assert not Path(made.said["directory"]).exists()


def example(lab, *, who="owner", network="provider", more="", **keys):
    text = EXAMPLE.read_text().replace("cloud: owner", f"cloud: {who}")
    text = text.replace("network: provider", f"network: {network}")
    lines = more + "".join(f"  {key}: {value}\n" for key, value in keys.items())
    return lab.spec(re.sub(r"^openstack:\n", f"openstack:\n{lines}", text, flags=re.MULTILINE))


def test_from_nothing_to_the_proof_and_back_with_ssh_alive(lab):
    before = lab.snapshot()
    talk = Talk(lab)
    lab.onearm("apply", REFERENCE, "--yes", code=0)  # all but the cloud's part
    started_at = lab.drops()
    assert lab.web() == ""
    drops = {k: n - started_at.get(k, 0) for k, n in lab.drops().items()}
    drops = {key: count for key, count in drops.items() if count}
    print(f"proved: without the cloud's part nothing comes back; dropped meanwhile: {drops}")
    assert drops
    lab.onearm("destroy", REFERENCE, "--yes", code=0)
    outcome = lab.onearm("apply", EXAMPLE, "--yes", "--json", code=0).json()
    report = lab.onearm("verify", EXAMPLE, "--cold", "--json", code=0).json()
    verdicts = {p["id"]: p["status"] for p in report["properties"]}
    print(f"proved: {len(outcome['done'])} changes, verify --cold: {verdicts}")
    assert lab.onearm("plan", EXAMPLE, "--check", code=0)
    assert lab.snapshot() != before
    lab.onearm("destroy", EXAMPLE, "--yes", code=0)
    talk.close()
    print(f"proved: {talk.words} words on one connection to port 22, the longest wait"
          f" {talk.longest:.2f} s")  # fmt: skip
    after = lab.snapshot()
    print(f"proved: after destroy all {len(after)} ports, groups and rules are as before")
    assert after == before
    assert talk.alive
    assert talk.words > 20


def test_a_change_in_neutron_is_enforced_within_a_second(lab):
    admin = lab.api()
    port = next(row for row in admin.list("ports") if row["name"] == "server-2")
    for pairs in ([{"ip_address": "203.0.113.2/32"}], []):
        admin.change("port", port["id"], allowed_address_pairs=pairs)
        begun = time.monotonic()
        look = ("nsenter", "--net=/run/netns/q-server-2", "nft", "list", "ruleset")
        while ("saddr 203.0.113.2" in lab.on("l2", *look)) != bool(pairs):
            assert time.monotonic() - begun < 10
        took = time.monotonic() - begun
        print(f"proved: {pairs} on server-2's port enforced after {took:.2f} s")
        assert took < 1 or os.getloadavg()[0] > 2 * (os.cpu_count() or 1)


# --- driver, remedy, compute nodes

PLACES = ("together", "apart")
NAIVE_WORKS = {(IPTABLES, "together"), (IPTABLES, "apart"), (OPENVSWITCH, "together")}
table = {}


@pytest.mark.parametrize("mode", MODES)
def test_our_choice_passes_under_each_driver_and_the_naive_one_where_it_should(lab, mode):
    lab.turn("--firewall", mode)
    more = CONSENT if mode == OPENVSWITCH else ""
    chosen = example(lab, more=more, firewall=mode)
    lab.onearm("apply", chosen, "--yes", code=0)
    for where in PLACES:
        lab.turn("--firewall", mode, "--compute", where)
        table[mode, "onearm's", where] = lab.onearm("verify", chosen, "--cold").code
    lab.onearm("destroy", chosen, "--yes", code=0)
    undo = naive(lab)
    lab.onearm("apply", REFERENCE, "--yes", code=0)
    for where in PLACES:
        lab.turn("--firewall", mode, "--compute", where)
        time.sleep(1)
        table[mode, "naive", where] = lab.onearm("verify", REFERENCE, "--cold").code
    lab.onearm("destroy", REFERENCE, "--yes", code=0)
    undo()
    lab.turn()
    for where in PLACES:
        words = [f"{choice}: exit {table[mode, choice, where]}" for choice in ("onearm's", "naive")]
        print(f"proved: {mode:16} {where:9} {'  '.join(words)}")
    assert {w: table[mode, "onearm's", w] for w in PLACES} == dict.fromkeys(PLACES, 0)
    worked = {where for where in PLACES if table[mode, "naive", where] == 0}
    assert worked == {where for driver, where in NAIVE_WORKS if driver == mode}


def naive(lab):
    """Do what tutorials say: pairs, and the port open in `default`; return the undoing."""
    close = lab.admit(80)
    for host in ("server-1", "server-2", "server-3"):
        lab.set_port(host, allowed_address_pairs=[EVERYTHING if host == "server-1" else HIS])

    def undo():
        for host in ("server-1", "server-2", "server-3"):
            lab.set_port(host, allowed_address_pairs=[])
        close()

    return undo


def test_openvswitch_without_consent_connects_and_hangs_and_says_so(lab):
    lab.turn("--firewall", OPENVSWITCH)
    spec = example(lab, firewall="auto")
    try:
        told = lab.onearm("apply", spec, "--yes", "--json", code=5).json()
        (found,) = told["properties"]
        print(f"proved: apply itself: {found['status']}: {found['evidence']}")
        assert (found["id"], found["status"]) == ("path.stateless_director", "fail")
        assert "server-2, server-3" in found["evidence"]
        assert 'director_port_security: "off"' in found["evidence"]
        again = lab.onearm("apply", spec, "--yes", code=5)  # nothing to do, and still so
        assert "0 changes done" in again.out and 'director_port_security: "off"' in again.out
        said = lab.onearm("verify", spec, "--cold", code=5)
        print("proved: " + "\n".join(said.out.splitlines()[:30]))
        assert 'director_port_security: "off"' in " ".join(said.out.split())
        quietly, sent = _without_a_request(lab, spec)
        assert (quietly.status, sent) == ("fail", {""})
        lab.turn("--firewall", OVN)
        lab.onearm("apply", spec, "--yes", code=0)
        quietly, sent = _without_a_request(lab, spec)
        print(f"proved: the same spec under ovn, nothing sent: {quietly.status}")
        assert (quietly.status, sent) == ("pass", {""})
    finally:
        lab.onearm("destroy", spec, "--yes", code=0)
        lab.turn()


def _without_a_request(lab, path):
    """Prove as outside the lab: connections that are opened and closed, and no more."""
    spec = specs.load(path)
    hosts = [host.name for host in (*spec.directors, *spec.real_servers)]
    with mock.patch.dict(os.environ, lab.environment()), Session(spec) as session:
        prefixes = {name: tuple(lab_prefix(name)) for name in hosts}
        session.spec = replace(spec, reach=specs.Reach("ssh", prefixes))
        session.open(cloud=True)
        clients, failed = probe.meet(session, probe.lab_clients())
        assert not failed and not session.out
        services = proof.needed(session)
        found = proof.try_until_believed(session, clients, services)
        evidence = proof.evidence(session, clients, services)
    return found, {a.reply for trial in evidence.trials for a in trial.attempts}


# --- rights


@pytest.fixture(scope="module")
def shared(lab):
    """A network of the project `web`, shared, with ports of the project `guest` in it."""
    admin = lab.api()
    network = admin.make("network", name="shared", project_id="web", shared=True)["id"]
    admin.make("subnet", network_id=network, project_id="web", ip_version=4,
               cidr="203.0.113.0/27", enable_dhcp=False)  # fmt: skip
    for number in (3, 4, 5):
        admin.make(
            "port", network_id=network, name=f"guest-{number}", project_id="guest",
            fixed_ips=[{"ip_address": f"203.0.113.{number}"}], device_owner="compute:nova",
            device_id=f"vm-{number}",
        )  # fmt: skip
    return "shared"


WHO = {"owner": 0, "admin": 0, "member": 4, "reader": 4}


@pytest.mark.parametrize("who", WHO)
def test_what_one_may_not_do_is_said_before_anything_is_done(lab, shared, who):
    before = lab.snapshot()
    spec = example(lab, who=who, network=shared if who == "member" else "provider")
    done = lab.onearm("plan", spec, "--json")
    errors = [f["id"] for f in done.json().get("findings", ()) if f["severity"] == "error"]
    print(f"proved: plan as {who}: exit {done.code} {errors} {done.err.strip()[:300]}")
    assert done.code == WHO[who]
    if done.code:
        assert lab.onearm("apply", spec, "--yes").code == 4
    assert lab.snapshot() == before
    assert json.loads(lab.on("server-1", "ip", "-j", "addr", "show", "dev", "eth0"))


def test_an_administrators_part_is_printed_done_and_then_seen_as_done(lab, shared):
    spec = example(lab, who="member", network=shared)
    script = lab.onearm("plan", spec, "--commands", "--as-admin").out
    print("proved: for an administrator:\n" + script)
    lines = [line for line in script.splitlines() if line.startswith("openstack ")]
    assert lines
    lab.openstack("".join(f"{line.removeprefix('openstack ')}\n" for line in lines), check=False)
    left = lab.onearm("plan", spec, "--json")
    errors = [f["id"] for f in left.json().get("findings", ()) if f["severity"] == "error"]
    print(f"proved: after them plan as member: exit {left.code} {errors} {left.err[:300]}")
    assert left.code == 0


# --- its end


def test_a_lab_keeps_its_enforcement(lab, tmp_path, monkeypatch):
    for tool in ovn.TOOLS:
        (tmp_path / tool).touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    said = lab.onearm("lab", "up", "--cloud", "--enforce", "ovn", code=2).err
    assert "runs with --enforce emulated, not ovn; end it first" in said


@pytest.mark.parametrize("how", ["controller killed", "keeper killed"])
def test_nothing_is_left_however_it_ends(tmp_path, how):
    made = started(f"lt-cloud-end-{os.getpid()}", tmp_path)
    directory = Path(made.said["directory"])
    keeper = int((directory / "cloud/pid").read_text())
    os.kill(made.said["pid"] if how == "controller killed" else keeper, signal.SIGKILL)
    until = time.monotonic() + 10
    while time.monotonic() < until and mine(made.name):
        time.sleep(0.1)
    assert (how, mine(made.name)) == (how, [])
    if how == "keeper killed":  # another one begins from nothing, in the same lab
        made = started(made.name, tmp_path)
        assert made.said["already"]
        assert [row["name"] for row in made.api().list("networks")] == ["provider"]
    client.down(made.name)
    assert not directory.exists()
    assert mine(made.name) == []
