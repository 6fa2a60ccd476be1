"""verify, trace and doctor beside a real daemon: what it holds out, why, and its own end."""

import json

import pytest
from directors import HOME, HOST, director, rotation
from labs import reference

pytestmark = pytest.mark.lab
CHECK = "check: {kind: tcp, interval: 500ms, timeout: 400ms, rise: 1, fall: 2"
SPEC = f"resync: 2s\n{CHECK}}}\n{reference()}"
VIP = "203.0.113.2/32"
# A stateful firewall as many hosts have it: clients are admitted, and what is established.
STATEFUL = """
iptables-legacy -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
iptables-legacy -A INPUT -d 203.0.113.2 -p tcp --dport 80 -j ACCEPT
iptables-legacy -A INPUT -i eth0 -p tcp -j DROP
"""


@pytest.fixture(scope="module")
def daemon(lab):
    with director(lab, SPEC) as daemon:
        yield daemon


@pytest.fixture
def path(daemon):
    return daemon.spec


def becomes(daemon, **states):
    """Wait until it shows these states."""
    wanted = {name.replace("_", "-"): state for name, state in states.items()}

    def shown():
        status = daemon.lab.onearm("status", daemon.spec, "--json").json()
        services = status["directors"][HOST]["daemon"]["services"]
        return {s["host"]: s["state"] for one in services for s in one.get("servers", ())}

    daemon.wait(lambda: wanted.items() <= shown().items())


@pytest.fixture
def healthy(daemon):
    """A daemon under which all is well, before and after."""
    becomes(daemon, server_2="up", server_3="up")
    yield daemon
    becomes(daemon, server_2="up", server_3="up")


def doctor(lab, path, code):
    return lab.onearm("doctor", path, "--json", code=code).json()["findings"]


def shape(findings):
    """Show findings as their ids, each with those that it explains."""
    return [(f["id"], f["party"], sorted(e["id"] for e in f["explains"])) for f in findings]


def verified(lab, path, *words, code=0):
    """Verify; give who is out of rotation, and what did not pass."""
    said = lab.onearm("verify", path, "--json", *words, code=code).json()
    out = {one["host"]: one for one in said["out_of_rotation"]}
    return out, {p["id"]: p for p in said["properties"] if p["status"] != "pass"}


def test_beside_a_healthy_daemon_all_is_proved_and_nothing_found(lab, path, healthy):
    assert verified(lab, path, "--cold", "--strict") == ({}, {})
    assert doctor(lab, path, 0) == []


def test_a_server_without_the_vip_is_out_and_the_missing_vip_is_named_first(lab, path, healthy):
    lab.on("server-2", "ip", "address", "del", VIP, "dev", "eth-vip")
    try:
        becomes(healthy, server_2="down", server_3="up")
        out, rest = verified(lab, path, "--cold", "--strict")
        assert (out.keys(), out["server-2"]["state"], rest) == ({"server-2"}, "down", {})
        told = lab.onearm("verify", path, code=0).out
        assert "out of rotation: server-2 (down: the server is up but" in told
        assert "all 1 in rotation through the director: server-3 16" in " ".join(told.split())
        found = shape(doctor(lab, path, 5))
        assert found == [("vip.missing", "server-2", ["health.down"])]
        traced = " ".join(lab.onearm("trace", path, "--via", "server-2", code=5).out.split())
        assert "not hit in 32 connections: out of rotation: server-2 (down" in traced
    finally:
        lab.on("server-2", "ip", "address", "add", VIP, "dev", "eth-vip")


def test_a_missing_destination_that_the_daemon_did_not_take_is_healed_not_excused(
    lab, path, healthy
):
    lab.on(HOST, "ipvsadm", "-d", "-t", "203.0.113.2:80", "-r", "203.0.113.4")
    healthy.wait(lambda: rotation(lab) == {"server-2": 1, "server-3": 1})
    assert verified(lab, path, "--strict") == ({}, {})


def test_a_drained_server_is_a_note_and_not_expected(lab, path, healthy):
    lab.onearm("drain", "server-3", "--spec", path, code=0)
    try:
        out, rest = verified(lab, path, "--strict")
        assert (out.keys(), out["server-3"]["state"], rest) == ({"server-3"}, "drained", {})
        found = doctor(lab, path, 0)
        assert [(f["id"], f["severity"]) for f in found] == [("health.drained", "note")]
    finally:
        lab.onearm("undrain", "server-3", "--spec", path, code=0)


def test_a_ramping_server_may_have_any_share(lab, path, healthy):
    slow = SPEC.replace("scheduler: rr", "scheduler: wrr\n    slow_start: 10m")
    lab.onearm("apply", lab.spec(slow, "slow.yaml"), "--yes", code=0)
    try:
        lab.on("server-2", "ip", "address", "del", VIP, "dev", "eth-vip")
        becomes(healthy, server_2="down")
        lab.on("server-2", "ip", "address", "add", VIP, "dev", "eth-vip")
        becomes(healthy, server_2="ramping", server_3="up")
        slow = lab.folder / "slow.yaml"
        out, rest = verified(lab, slow, "--strict")
        assert [(h, one["in_part"]) for h, one in out.items()] == [("server-2", True)]
        assert rest == {}
        assert doctor(lab, slow, 0) == []
    finally:
        lab.onearm("apply", path, "--yes", code=0)


def test_an_isolated_server_is_so_for_its_answers_in_arp(lab, path, healthy):
    lab.onearm("apply", lab.spec(f"isolate: true\n{SPEC}", "isolate.yaml"), "--yes", code=0)
    before = lab.on(
        "server-2", "sysctl", "net.ipv4.conf.all.arp_ignore", "net.ipv4.conf.eth0.arp_ignore"
    )
    try:
        lab.sh(
            "server-2", "sysctl -w net.ipv4.conf.all.arp_ignore=0 net.ipv4.conf.eth0.arp_ignore=0"
        )
        becomes(healthy, server_2="down", server_3="up")
        found = doctor(lab, lab.folder / "isolate.yaml", 5)
        assert [(f["id"], f["party"]) for f in found] == [("arp.answers", "server-2")]
        assert "health.isolated" in {effect["id"] for effect in found[0]["explains"]}
    finally:
        lab.on("server-2", "sysctl", "-p", "/dev/stdin", stdin=before.encode())
        lab.onearm("apply", path, "--yes", code=0)


def test_what_a_plan_runs_on_the_director_is_shown_before_the_yes(lab, path, healthy):
    """A plan file may be somebody else's, and its spec holds commands that root runs there."""
    script = "check: {kind: script, argv: [/bin/true, 'a b'], interval: 500ms"
    spec, kept = lab.spec(SPEC.replace(CHECK, script), "script.yaml"), lab.folder / "script.json"
    said = ["checks run on server-1, as root without capabilities", "/bin/true 'a b'"]
    try:
        for words in (("-o", kept), ("--commands",)):
            done = lab.onearm("plan", spec, *words, code=0)
            shown = [line.strip() for line in (done.out + done.err).splitlines()]
            assert [line for line in shown if line in said] == said
        runs = [{"place": HOST, "argv": ["/bin/true", "a b"]}]
        assert json.loads(kept.read_text())["runs"] == runs
        shown = lab.onearm("apply", kept, "--yes", code=0).out
        assert all(shown.index(line) < shown.index("done") for line in said)
        assert said[0] not in lab.onearm("plan", spec, "--check", code=0).out
    finally:
        lab.onearm("apply", path, "--yes", code=0)


def test_a_check_that_cannot_succeed_is_quoted_and_nobody_left_fails(lab, path, healthy):
    """The servers are well, so that nothing but the check's own reason can be said."""
    wrong = lab.spec(SPEC.replace("fall: 2", "fall: 2, port: 81"), "wrong.yaml")
    lab.onearm("apply", wrong, "--yes", code=0)
    try:
        becomes(healthy, server_2="down", server_3="down")
        out, rest = verified(lab, wrong, code=5)
        assert out.keys() == {"server-2", "server-3"}
        said = rest["path.every_destination"]
        assert (said["status"], "out of rotation: server-2 (down" in said["evidence"]) == (
            "fail", True,
        )  # fmt: skip
        found = doctor(lab, wrong, 5)
        assert [(f["id"], f["party"]) for f in found] == [
            ("health.down", "server-2"), ("health.down", "server-3"),
        ]  # fmt: skip
        assert "refused" in found[0]["cause"]
        assert "health.none" in {effect["id"] for effect in found[0]["explains"]}
    finally:
        lab.onearm("apply", path, "--yes", code=0)


def test_a_firewall_that_takes_answers_to_checks_is_named_before_the_servers(lab, path, healthy):
    lab.sh(HOST, STATEFUL)
    try:
        becomes(healthy, server_2="down", server_3="down")
        first = doctor(lab, path, 5)
        assert [(f["id"], f["party"]) for f in first] == [("fw.d.checks", HOST)]
        tool, *words = first[0]["cure"].split()
        lab.on(HOST, tool, *words)
        becomes(healthy, server_2="up", server_3="up")
        assert doctor(lab, path, 0) == []
    finally:
        lab.on(HOST, "iptables-legacy", "-F", "INPUT")


def test_forwarding_on_a_director_that_checks_through_the_vip_is_warned_of(lab, path, healthy):
    assert lab.on(HOST, "sysctl", "-n", "net.ipv4.conf.eth0.accept_local").strip() == "1"
    lab.on(HOST, "sysctl", "-w", "net.ipv4.ip_forward=1")
    try:
        found = [f for f in shape(doctor(lab, path, 5)) if f[0] != "plan.differs"]
        assert found == [("forward.accept_local", HOST, ["director.forwards"])]
        assert "director.forwards" in lab.onearm("plan", path).out
    finally:
        lab.on(HOST, "sysctl", "-w", "net.ipv4.ip_forward=0")


def test_a_file_that_the_daemon_refuses_is_named(lab, path, healthy):
    lab.sh(HOST, f"echo 'resink: 1s' >>{HOME}")
    try:
        healthy.wait(lambda: "is not taken" in healthy.log())
        assert verified(lab, path, "--strict") == ({}, {})
        first = doctor(lab, path, 5)[0]
        assert (first["id"], first["party"], first["severity"]) == (
            "daemon.behind",
            HOST,
            "warning",
        )
        assert "resink" in first["observed"]
    finally:
        lab.onearm("apply", path, "--yes", code=0)


def test_a_killed_daemon_is_named_and_what_it_left_undone_with_it(lab, path, healthy):
    lab.on("server-2", "ip", "address", "del", VIP, "dev", "eth-vip")
    becomes(healthy, server_2="down")
    healthy.kill()
    try:
        lab.on("server-2", "ip", "address", "add", VIP, "dev", "eth-vip")
        out, rest = verified(lab, path, "--strict", code=5)
        assert (out, rest["path.distribution"]["status"]) == ({}, "fail")
        (found,) = doctor(lab, path, 5)
        assert (found["id"], found["party"], found["fix"]) == ("daemon.dead", HOST, True)
        assert {"ipvs.destination", "daemon.none"} <= {e["id"] for e in found["explains"]}
        lab.onearm("apply", path, "--yes", code=0)
        lab.nodes.end()
        assert [f["id"] for f in doctor(lab, path, 0)] == ["daemon.none"]
        assert verified(lab, path, "--strict") == ({}, {})
        assert "FWM" not in lab.on(HOST, "ipvsadm", "-Ln")
    finally:
        lab.nodes.end()
        healthy.start()
