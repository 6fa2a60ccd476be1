"""Groups by firewall marks on the real kernel: what stands, what traffic proves, what heals."""

import contextlib
import json

import pytest
from directors import director
from proofs import FAIL, PASS, proving
from runs import killed_after

pytestmark = pytest.mark.lab
HEAD = """
directors: {server-1: {address: 203.0.113.3, address6: "2001:db8:203::3"}}
real_servers:
  server-2: {address: 203.0.113.4, address6: "2001:db8:203::4"}
  server-3: {address: 203.0.113.5, address6: "2001:db8:203::5"}
reach: lab
services:
"""
WEB = "vips: [203.0.113.2, 203.0.113.9], ports: [80/tcp, 443-8080/tcp]"
SPEC = f"""{HEAD}
  - {{{WEB}, scheduler: rr, persistence: 300s}}
  - {{vip: 203.0.113.2, port: 53-5353/udp, scheduler: rr}}
  - {{vip: "2001:db8:203::2", ports: [80/tcp, 443/tcp], scheduler: rr, persistence: 300s}}
"""
FIRST, SECOND, THIRD = (0x6F670001 + n for n in range(3))
TABLE = [
    f"-A -f {FIRST} -s rr -p 300",
    *(f"-a -f {FIRST} -r 203.0.113.{n}:0 -g -w 1" for n in (4, 5)),
    f"-A -f {SECOND} -s rr",
    *(f"-a -f {SECOND} -r 203.0.113.{n}:0 -g -w 1" for n in (4, 5)),
    f"-A -f {THIRD} -6 -s rr -p 300",
    *(f"-a -f {THIRD} -6 -r [2001:db8:203::{n}]:0 -g -w 1" for n in (4, 5)),
]
MARK = "-j MARK --set-xmark {:#x}/0xffffffff"
OURS = "-m comment --comment onearm"
# What others have there before we come, one of them for our own VIP.
FOREIGN = """
M="iptables-legacy -t mangle"
$M -A PREROUTING -d 203.0.113.2/32 -p tcp -m tcp --dport 22 -j MARK --set-mark 7
$M -A PREROUTING -d 203.0.113.20/32 -p udp -m comment --comment onearm -j ACCEPT
$M -A POSTROUTING -p icmp -j ACCEPT
ip6tables-legacy -t mangle -A PREROUTING -p tcp -m tcp --dport 22 -j MARK --set-mark 7
"""
SAVE = "{}-save -t mangle | grep -v '^#' | sed 's/ \\[.*//'"
GONE = "iptables-legacy -t mangle -D PREROUTING -d 203.0.113.2/32 ! -i lo -p tcp -m tcp"


def table(lab):
    return sorted(line.strip() for line in lab.on("server-1", "ipvsadm", "-Sn").splitlines())


def saved(lab):
    """The rules of both families, without counters and comments."""
    tools = ("iptables-legacy", "ip6tables-legacy")
    return [lab.sh("server-1", SAVE.format(tool)) for tool in tools]


def marking(lab):
    """Ours among the rules, each as its endpoint and its mark."""
    lines = (line.split() for text in saved(lab) for line in text.splitlines())
    found = [w for w in lines if "--comment" in w and "MARK" in w]
    end = lambda w: f"{w[w.index('-d') + 1]} {w[w.index('-p') + 1]} {w[w.index('--dport') + 1]}"
    return {end(words): words[-1].partition("/")[0] for words in found}


RULES = {
    **{f"203.0.113.{n}/32 tcp {p}": f"{FIRST:#x}" for n in (2, 9) for p in ("80", "443:8080")},
    "203.0.113.2/32 udp 53:5353": f"{SECOND:#x}",
    **{f"2001:db8:203::2/128 tcp {port}": f"{THIRD:#x}" for port in (80, 443)},
}


@pytest.fixture(scope="module")
def foreign(lab):
    """The lab with others' rules, which must be left as they are after all of it."""
    lab.sh("server-1", FOREIGN)
    before = saved(lab)
    yield lab
    assert saved(lab) == before
    lab.sh("server-1", "iptables-legacy -t mangle -F; ip6tables-legacy -t mangle -F")


@contextlib.contextmanager
def applied(lab, text=SPEC):
    spec = lab.spec(text)
    lab.onearm("apply", spec, "--yes", code=0)
    try:
        yield spec
    finally:
        lab.onearm("destroy", spec, "--yes", code=0)


def test_the_table_is_what_ipvsadm_prints(foreign):
    before = saved(foreign)
    with applied(foreign) as spec:
        assert table(foreign) == sorted(TABLE)
        assert marking(foreign) == RULES
        assert not foreign.onearm("plan", spec, "--json", code=0).json()["actions"]
        shown = foreign.onearm("status", spec, "--json", code=0).json()
        services = shown["directors"]["server-1"]["services"]
        assert {(s["vip"], s["port"], s["fwmark"]) for s in services} == {
            ("203.0.113.2", 80, FIRST),
            ("203.0.113.2", 53, SECOND),
            ("2001:db8:203::2", 80, THIRD),
        }
        assert "mark 0x6f670001" in foreign.onearm("status", spec, code=0).out
    assert not table(foreign)
    assert saved(foreign) == before


def test_groups_are_proved_and_a_client_is_shown_with_its_group(foreign):
    with applied(foreign) as spec:
        found = foreign.onearm("verify", spec, "--cold", "--strict", "--json", code=0).json()
        said = {(p["id"], p["about"]): p["evidence"] for p in found["properties"]}
        web, dns, six = "203.0.113.2:80/tcp", "203.0.113.2:53/udp", "[2001:db8:203::2]:80/tcp"
        assert said["path.every_endpoint", web].startswith("connections to all 6 were handed on")
        assert said["path.every_endpoint", dns].startswith("connections to all 2 were handed on")
        assert said["path.every_endpoint", six].startswith("connections to all 2 were handed on")
        for about, ends in ((web, 6), (six, 2)):
            assert f"at up to {ends} endpoints" in said["path.one_server", about]
        assert ("path.one_server", dns) not in said
        assert "exactly as rr promises" in said["path.distribution", dns]
        text = foreign.onearm("connections", spec, "--json", code=0).json()
        kept = [e for e in text["entries"] if e["kind"] == "template"]
        assert {(e["protocol"], e["vip"], e["port"]) for e in kept} == {
            ("tcp", "203.0.113.2", 80),
            ("tcp", "2001:db8:203::2", 80),
        }
        ports = {e["port"] for e in text["entries"] if e["kind"] == "connection"}
        assert {80, 443, 8080, 53, 5353} <= ports
        one = foreign.onearm("connections", spec, "--service", "203.0.113.9:8080/tcp", "--json")
        assert {(e["vip"], e["port"]) for e in one.json()["entries"]} == {("203.0.113.9", 8080)}


def test_what_breaks_a_group_is_proved_too(foreign):
    with applied(foreign) as spec, proving(foreign, spec) as prove:
        assert not prove(clients=["client"]).ids(FAIL)
        foreign.sh("server-1", f"{GONE} --dport 80 {OURS} {MARK.format(FIRST)}")
        broken = prove(clients=["client"])
        web = "203.0.113.2:80/tcp"
        assert ("path.every_endpoint", web) in broken.abouts(FAIL), str(broken)
        assert "203.0.113.2:80: none of" in broken.text("path.every_endpoint")
        foreign.onearm("apply", spec, "--yes", code=0)
        assert prove(clients=["client"]).ids(PASS) >= {"path.every_endpoint", "path.one_server"}
        foreign.sh("server-1", f"ipvsadm -E -f {FIRST} -s rr")
        torn = prove(clients=["client"])
        assert ("path.one_server", web) in torn.abouts(FAIL), str(torn)


def test_a_group_behind_masq_keeps_each_port(foreign):
    text = f"{HEAD}\n  - {{vip: 203.0.113.2, ports: [80/tcp, 443/tcp], forwarding: masq}}\n"
    text = text.replace("forwarding: masq", "forwarding: masq, scheduler: rr, persistence: 300s")
    for server in ("server-2", "server-3"):
        foreign.on(server, "ip", "route", "replace", "default", "via", "203.0.113.3")
    try:
        with applied(foreign, text) as spec, proving(foreign, spec) as prove:
            assert f"-a -f {FIRST} -r 203.0.113.4:0 -m -w 1" in table(foreign)
            found = prove(clients=["client"])
            assert not found.ids(FAIL), str(found)
            assert found.ids(PASS) >= {
                "path.reply_through_director",
                "path.every_endpoint",
                "path.one_server",
            }, str(found)
    finally:
        for server in ("server-2", "server-3"):
            foreign.on(server, "ip", "route", "replace", "default", "via", "203.0.113.1")


def test_a_rule_removed_by_hand_is_named_and_healed(foreign):
    with applied(foreign) as spec:
        foreign.sh("server-1", f"{GONE} --dport 443:8080 {OURS} {MARK.format(FIRST)}")
        assert marking(foreign) != RULES
        plan = foreign.onearm("plan", spec, "--check", code=5).out
        assert "create mark of 203.0.113.2:443-8080/tcp = 0x6f670001" in plan
        found = foreign.onearm("doctor", spec, "--json", "--passive", code=5).json()["findings"]
        assert [f["id"] for f in found if f["severity"] == "error"] == ["ipvs.mark_rule"]
        assert "203.0.113.2:443-8080/tcp" in json.dumps(found)
        foreign.onearm("apply", spec, "--yes", code=0)
        assert marking(foreign) == RULES
        # another mark than the group's is put right in place, and the old rule goes
        foreign.sh("server-1", f"{GONE} --dport 80 {OURS} {MARK.format(FIRST)}")
        wrong = f"{GONE} --dport 80 {OURS} {MARK.format(FIRST + 9)}".replace(" -D ", " -A ")
        foreign.sh("server-1", wrong)
        assert "mark 1869021194 -> 1869021185" in foreign.onearm("plan", spec, code=0).out
        foreign.onearm("apply", spec, "--yes", code=0)
        assert marking(foreign) == RULES


def test_a_lost_ledger_changes_nothing(foreign):
    with applied(foreign) as spec:
        foreign.sh("server-1", "mv /var/lib/onearm/ledger.json /run/kept.json")
        assert not foreign.onearm("plan", spec, "--json", code=0).json()["actions"]
        foreign.sh("server-1", "mv /run/kept.json /var/lib/onearm/ledger.json")


def test_a_service_becomes_a_group_and_one_again_and_a_group_changes(foreign):
    plain = f"{HEAD}\n  - {{vip: 203.0.113.2, port: 80/tcp, scheduler: rr}}\n"
    grown = plain.replace("port: 80/tcp", "ports: [80/tcp, 443/tcp]")
    moved = plain.replace("port: 80/tcp", "ports: [443/tcp, 8080/tcp]")
    with applied(foreign, plain) as spec:
        for text, wanted in (
            (grown, {"203.0.113.2/32 tcp 80", "203.0.113.2/32 tcp 443"}),
            (moved, {"203.0.113.2/32 tcp 443", "203.0.113.2/32 tcp 8080"}),
            (plain, set()),
        ):
            spec.write_text(text)
            foreign.onearm("apply", spec, "--yes", code=0)
            assert set(marking(foreign)) == wanted
            services = [line for line in table(foreign) if line.startswith("-A")]
            assert len(services) == 1 and ("-f" in services[0]) == bool(wanted), services
            assert not foreign.onearm("plan", spec, "--json", code=0).json()["actions"]


ACTIONS = 35


@pytest.mark.parametrize("k", [13, 21, 24, 27, 30])
def test_a_run_killed_among_the_marks_converges_when_repeated(foreign, k):
    before = saved(foreign)
    spec = foreign.spec(SPEC)
    killed_after(foreign, k, "apply", spec, "--yes")
    again = foreign.onearm("apply", spec, "--yes", "--json", code=0).json()
    assert (again["left"], again["out"]) == ([], {})
    assert table(foreign) == sorted(TABLE)
    assert marking(foreign) == RULES
    killed_after(foreign, k - 10, "destroy", spec, "--yes")
    foreign.onearm("destroy", spec, "--yes", code=0)
    assert (table(foreign), saved(foreign)) == ([], before)


def test_the_daemon_checks_and_heals_a_group(foreign):
    text = f"""
check: {{kind: tcp, interval: 500ms, timeout: 500ms, fall: 2, rise: 1}}
resync: 1s
{HEAD}
  - {{{WEB}, scheduler: rr, persistence: 300s}}
"""
    rules = {end: mark for end, mark in RULES.items() if "tcp" in end and "2001" not in end}

    def served():
        rows = [line.split() for line in table(foreign) if line.startswith(f"-a -f {FIRST} ")]
        return sorted(words[4] for words in rows if words[-1] == "1")

    both = ["203.0.113.4:0", "203.0.113.5:0"]
    with director(foreign, text) as daemon:
        daemon.wait(lambda: served() == both and marking(foreign) == rules)
        foreign.sh("server-1", f"{GONE} --dport 80 {OURS} {MARK.format(FIRST)}")
        healed = "healed: create mark of 203.0.113.2:80/tcp = 0x6f670001"
        daemon.wait(lambda: healed in daemon.said("drift"))
        assert marking(foreign) == rules
        # a probe takes the path of clients: one that lacks the group's first VIP serves nobody
        foreign.sh("server-2", "ip address del 203.0.113.2/32 dev eth-vip")
        daemon.wait(lambda: served() == both[1:])
        found = foreign.onearm("verify", daemon.spec, "--json", code=0).json()["properties"]
        assert not [p for p in found if p["status"] == "fail"]
        foreign.sh("server-2", "ip address add 203.0.113.2/32 dev eth-vip")
        daemon.wait(lambda: served() == both)
        (shown,) = daemon.snapshot()["services"]
        assert (shown["vip"], shown["port"]) == ("203.0.113.2", 80)
        assert [one["weight"] for one in shown["servers"]] == [1, 1]
        foreign.onearm("drain", "server-3", "--spec", daemon.spec, "--deadline", "0s", code=0)
        assert served() == both[:1]
        foreign.onearm("undrain", "server-3", "--spec", daemon.spec, code=0)
        daemon.wait(lambda: served() == both)
        assert marking(foreign) == rules
