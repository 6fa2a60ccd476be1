"""ARP policies in the guest: each by itself, mixed and changed live, proved with cold caches."""

import pytest
from labs import REFERENCE, reference
from proofs import proving

pytestmark = pytest.mark.lab
VIP = "203.0.113.2"
SERVERS = ("server-2", "server-3")


def spec(lab, first, second):
    """The reference with the policies of its two real servers."""
    return lab.spec(
        reference(
            **{
                "server-2: 203.0.113.4": f"server-2: {{address: 203.0.113.4, arp: {first}}}",
                "server-3: 203.0.113.5": f"server-3: {{address: 203.0.113.5, arp: {second}}}",
            }
        ),
        f"{first}-{second}.yaml",
    )


def rules(lab, host):
    lines = lab.on(host, "arptables-legacy", "-L", "-n").splitlines()
    return [" ".join(line.split()) for line in lines if line.startswith("-j")]


def announce(lab, host):
    return lab.on(host, "sysctl", "-n", "net.ipv4.conf.eth0.arp_announce").strip()


def state(lab):
    """All that an apply could change."""
    show = "ip -4 address; arptables-legacy -L -n; sysctl -a -r arp_; cat /var/lib/onearm/*.json"
    found = {host: lab.sh(host, show) for host in SERVERS}
    return found | {"server-1": lab.sh("server-1", "ipvsadm -Ln; ip -4 address")}


@pytest.fixture(scope="module")
def prove(lab):
    with proving(lab, REFERENCE) as proof:
        yield proof
    lab.onearm("destroy", REFERENCE, "--yes", code=0)


@pytest.mark.parametrize("policies", [("arptables", "sysctl"), ("arptables", "arptables")])
def test_every_policy_is_proved_after_a_live_change(lab, prove, policies):
    path = spec(lab, *policies)
    lab.onearm("apply", path, "--yes", code=0)
    prove.change(path)
    found = prove(cold=True)
    assert (found.code(strict=True), len(found.ids("pass"))) == (0, 5), str(found)
    kernel = lab.on("server-2", "uname", "-r").strip()
    where = zip(SERVERS, policies, strict=True)
    print(f"proved: arp {', '.join(map('='.join, where))} on the lab's kernel {kernel}, cold")
    for host, policy in zip(SERVERS, policies, strict=True):
        found = rules(lab, host)
        deaf = [rule for rule in found if "-j DROP" in rule]
        mute = [rule for rule in found if "mangle" in rule]
        assert len(deaf) == len(mute) == (policy == "arptables")
        assert announce(lab, host) == ("2" if policy == "sysctl" else "0")
        output = lab.on(host, "arptables-legacy", "-L", "OUTPUT", "-n")
        assert "DROP" not in output  # the reference's own rule: a cold cache would be its end


def test_a_policy_that_the_kernel_lacks_is_one_clear_error_before_any_change(lab, prove):
    path, before = spec(lab, "sysctl", "nft"), state(lab)
    done = lab.onearm("apply", path, "--yes", code=3)
    said = " ".join((done.out + done.err).split())
    print(said)
    assert said.count("host.arp_nft: server-3: ") == 1
    assert "nothing was changed" in said
    assert state(lab) == before
