"""Kinds of service as the kernel has them: what a spec says is what ipvsadm -Sn prints."""

import pytest
from labs import RESPONDER, RESPONDER_ENDS, RESPONDER_STARTS
from proofs import FAIL, PASS, proving
from runs import wait_for

from onearm.spec_load.services import SCHEDULERS

pytestmark = pytest.mark.lab
HEAD = """
directors: {server-1: 203.0.113.3}
real_servers: {server-2: 203.0.113.4, server-3: 203.0.113.5}
reach: lab
services:
"""
ABSENT = "twos"  # the guest's kernel is built without it


def table(lab):
    """What ipvsadm saves of the director's table."""
    return lab.on("server-1", "ipvsadm", "-Sn").splitlines()


def rows(lab, word):
    return sorted(line for line in table(lab) if f" {word} " in f"{line} ")


def services(*lines):
    return HEAD + "".join(f"  - {{vip: 203.0.113.2, {line}}}\n" for line in lines)


def taken_there_and_back(lab, text, expected):
    """Apply a spec: the table is as expected, nothing is left to do, and nothing stays behind."""
    spec = lab.spec(text)
    lab.onearm("apply", spec, "--yes", code=0)
    try:
        made = sorted(line.strip() for line in table(lab))
        assert made == sorted(expected), made
        assert not lab.onearm("plan", spec, "--json", code=0).json()["actions"]
    finally:
        lab.onearm("destroy", spec, "--yes", code=0)
    assert not table(lab)


def test_every_scheduler_of_the_kernel_with_its_flags(lab):
    wanted, expected = [], []
    for n, (name, flags) in enumerate(SCHEDULERS.items()):
        if name == ABSENT:
            continue
        port = 1000 + n
        said = f", flags: [{', '.join(flags)}]" if flags else ""
        wanted.append(f"port: {port}/tcp, scheduler: {name}{said}, real_servers: [server-2]")
        printed = f" -b {','.join(flags)}" if flags else ""
        expected += [
            f"-A -t 203.0.113.2:{port} -s {name}{printed}",
            f"-a -t 203.0.113.2:{port} -r 203.0.113.4:{port} -g -w 1",
        ]
    taken_there_and_back(lab, services(*wanted), expected)


def test_a_scheduler_that_the_kernel_lacks_is_refused_before_anything_is_changed(lab):
    spec = lab.spec(services(f"port: 80/tcp, scheduler: {ABSENT}", "port: 81/tcp, scheduler: rr"))
    said = lab.onearm("apply", spec, "--yes", code=3).err
    assert "host.scheduler: server-1: this kernel has no scheduler twos" in said.replace("\n", " ")
    assert "ip_vs_twos" in said
    assert not table(lab)
    found = lab.onearm("doctor", spec, "--json", code=5).json()["findings"]
    assert "host.scheduler" in {finding["id"] for finding in found}


def test_persistence_with_its_netmask_and_engine(lab):
    taken_there_and_back(
        lab,
        services(
            "port: 80/tcp, persistence: 300s, real_servers: [server-2]",
            "port: 81/tcp, scheduler: rr, persistence: {timeout: 5m, netmask: 24},"
            " real_servers: [server-2]",
            "port: 5060/udp, scheduler: rr, persistence: {timeout: 60s, engine: sip},"
            " real_servers: [server-2]",
        ),
        [
            "-A -t 203.0.113.2:80 -s wlc -p 300",
            "-a -t 203.0.113.2:80 -r 203.0.113.4:80 -g -w 1",
            "-A -t 203.0.113.2:81 -s rr -p 300 -M 255.255.255.0",
            "-a -t 203.0.113.2:81 -r 203.0.113.4:81 -g -w 1",
            "-A -u 203.0.113.2:5060 -s rr -p 60 --pe sip",
            "-a -u 203.0.113.2:5060 -r 203.0.113.4:5060 -g -w 1",
        ],
    )


def test_persistence_that_somebody_changed_is_found_and_put_right(lab):
    spec = lab.spec(services("port: 80/tcp, scheduler: rr, persistence: 300s"))
    lab.onearm("apply", spec, "--yes", code=0)
    try:
        wanted = table(lab)
        for changed in ("", "-p 60", "-p 300 -M 255.255.0.0", "-p 300 -M 255.0.255.0"):
            lab.sh("server-1", f"ipvsadm -E -t 203.0.113.2:80 -s rr {changed}")
            found = lab.onearm("doctor", spec, "--passive", "--json", code=5).json()["findings"]
            assert "ipvs.persistence" in {finding["id"] for finding in found}, changed
            lab.onearm("apply", spec, "--yes", code=0)
            assert table(lab) == wanted
    finally:
        lab.onearm("destroy", spec, "--yes", code=0)


def test_bounds_of_real_servers(lab):
    text = services(
        "port: 80/tcp, real_servers: {server-2: {weight: 3, upper: 100, lower: 80},"
        " server-3: {upper: 9}}"
    )
    spec = lab.spec(text)
    lab.onearm("apply", spec, "--yes", code=0)
    try:
        # ipvsadm -S leaves them out; columns: server, upper, lower, active, inactive
        shown = lab.on("server-1", "ipvsadm", "-Ln", "--thresholds")
        rows = [line.split()[1:4] for line in shown.splitlines() if "->" in line][1:]
        assert sorted(rows) == [["203.0.113.4:80", "100", "80"], ["203.0.113.5:80", "9", "0"]]
        assert not lab.onearm("plan", spec, "--json", code=0).json()["actions"]
        lab.sh("server-1", "ipvsadm -e -t 203.0.113.2:80 -r 203.0.113.5:80 -g -w 1 -x 8")
        assert "upper 8 -> 9" in lab.onearm("plan", spec, code=0).out
    finally:
        lab.onearm("destroy", spec, "--yes", code=0)


def test_one_packet_scheduling_is_proved(lab):
    text = services(
        "port: 53/udp, scheduler: rr, flags: [ops]",
        "port: 5353/udp, scheduler: mh, flags: [mh-port, ops], real_servers: [server-2]",
    )
    spec = lab.spec(text)
    lab.onearm("apply", spec, "--yes", code=0)
    try:
        assert "-A -u 203.0.113.2:53 -s rr -o" in [line.strip() for line in table(lab)]
        found = lab.onearm("verify", spec, "--cold", "--strict", "--json", code=0).json()
        shares = {p["about"]: p["evidence"] for p in found["properties"] if p["id"] == RULES[3]}
        assert "exactly as rr promises" in shares["203.0.113.2:53/udp"]
        counted = lab.sh("server-1", "grep -c '^UDP' /proc/net/ip_vs_conn", check=False).strip()
        assert counted == "0", "no packet is remembered"
    finally:
        lab.onearm("destroy", spec, "--yes", code=0)


RULES = ("path.every_destination", "path.client_address", "path.direct_reply", "path.distribution")
# The clients that stay, of port 53: their entries have no port of the client.
STAYING = 'awk \'$1 == "UDP" && $3 == "0000" && $5 == "0035"\' /proc/net/ip_vs_conn'
ASK = "exec 3<>/dev/udp/203.0.113.2/53; echo >&3; timeout 5 head -n1 <&3"


def nobody_stays(lab):
    """Wait until the kernel has forgotten every client of 53/udp and the server it stays with."""
    wait_for(lambda: not lab.sh("server-1", STAYING), lambda: lab.sh("server-1", STAYING))


def statuses(found):
    return {(p.id, p.about.partition(":")[2]): p.status for p in found.properties}


def test_persistent_clients_stay_and_may_go_elsewhere_after_the_timeout(lab):
    spec = lab.spec(
        services(
            "port: 80/tcp, scheduler: rr, persistence: 300s",
            "port: 443/tcp, scheduler: rr, persistence: {timeout: 300s, netmask: 24}",
            "port: 53/udp, scheduler: rr, persistence: 3s",
            "port: 5353/udp, scheduler: rr, persistence: {timeout: 300s, engine: sip}",
        )
    )
    lab.onearm("apply", spec, "--yes", code=0)
    lab.sh("server-1", "ipvsadm --set 900 120 1")  # a client stays as long as it has connections
    try:
        with proving(lab, spec) as prove:
            found = prove()
            kept = {
                p.about.partition(":")[2]: p.evidence for p in found.properties if p.id == RULES[3]
            }
            assert statuses(found)[RULES[3], "80/tcp"] == PASS, str(found)
            assert kept["80/tcp"].endswith(
                "65 client addresses kept its server (persistent for 300 s)"
            )
            assert "each of 2 client prefixes (/24) kept its server" in kept["443/tcp"]
            assert "each of 65 client addresses kept" in kept["5353/udp"], str(found)
            assert not found.ids(FAIL), str(found)
            astray = "ipvsadm -E -t 203.0.113.2:80 -s rr"
            lab.sh("server-1", astray)
            assert statuses(prove(clients=["client"]))[RULES[3], "80/tcp"] == FAIL
            lab.sh("server-1", f"{astray} -p 300")
        nobody_stays(lab)  # else the first would go where the proof's packets went, unscheduled
        first, again = (lab.on("client", "bash", "-c", ASK) for _ in range(2))
        assert first == again
        nobody_stays(lab)
        assert lab.on("client", "bash", "-c", ASK) != first
    finally:
        lab.sh("server-1", "ipvsadm --set 900 120 300")
        lab.onearm("destroy", spec, "--yes", code=0)


def timeouts(lab):
    """The three timeouts, in the order of ipvsadm."""
    return lab.on("server-1", "ipvsadm", "-L", "--timeout").split(":")[1].split()


def test_timeouts_are_set_healed_and_put_back(lab):
    lab.sh("server-1", "modprobe ip_vs; ipvsadm --set 800 110 290")
    text = services("port: 80/tcp, scheduler: rr") + "timeouts: {tcp: 15m, udp: 60s}\n"
    spec = lab.spec(text)
    typed = lab.onearm("plan", spec, "--commands", code=0).out
    assert "ipvsadm --set 900 0 0" in typed and "ipvsadm --set 0 0 60" in typed
    lab.onearm("apply", spec, "--yes", code=0)
    try:
        assert timeouts(lab) == ["900", "110", "60"]
        lab.sh("server-1", "ipvsadm --set 901 111 0")
        assert "IPVS timeout tcp: seconds 901 -> 900" in lab.onearm("plan", spec, code=0).out
        lab.onearm("apply", spec, "--yes", code=0)
        assert timeouts(lab) == ["900", "111", "60"]
        lab.onearm("apply", lab.spec(text.replace(", udp: 60s", "")), "--yes", code=0)
        assert timeouts(lab) == ["900", "111", "290"]
    finally:
        lab.onearm("destroy", spec, "--yes", code=0)
        left = timeouts(lab)
        lab.sh("server-1", "ipvsadm --set 900 120 300")
    assert left == ["800", "111", "290"]


def test_sctp_is_proved_and_so_is_what_breaks_it(lab):
    spec = lab.spec(services("port: 3868/sctp, scheduler: rr"))
    servers = ("server-2", "server-3")
    lab.onearm("apply", spec, "--yes", code=0)
    try:
        made = [line.strip() for line in table(lab)]
        assert "-A --sctp-service 203.0.113.2:3868 -s rr" in made, made
        for host in servers:
            lab.sh(host, f"modprobe sctp; {RESPONDER} --bind 203.0.113.2")
        found = lab.onearm("verify", spec, "--cold", "--strict", "--json", code=0).json()
        shares = [p["evidence"] for p in found["properties"] if p["id"] == RULES[3]]
        assert shares[0].endswith("exactly as rr promises")
        with proving(lab, spec) as prove:
            lab.sh("server-3", RESPONDER_ENDS)
            broken = prove(clients=["client"])
            named = lab.onearm("doctor", spec, code=5).out
            lab.sh("server-3", RESPONDER_STARTS)
            assert "hop.server_refused  server-3" in named
            assert "expected: an INIT ACK" in named and "cure: ss -ln --sctp on server-3" in named
            assert broken.ids(FAIL) == {RULES[0]}, str(broken)
            assert "server-3 reset" in broken.text(RULES[0])
            broken = prove(clients=["client"])
            assert "server-3 got" in broken.text(RULES[0]), str(broken)
            assert "must bind it" in broken.text(RULES[0])
    finally:
        for host in servers:
            lab.sh(host, RESPONDER)
        lab.onearm("destroy", spec, "--yes", code=0)
