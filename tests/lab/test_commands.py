"""`plan --commands` by hand does what apply does: the same state, proved by the same traffic."""

import io
import re

import pytest
from labs import HOSTS, REFERENCE, reference
from proofs import proving
from rich.console import Console

from onearm import render
from onearm.commands import shell_line
from onearm.session import without_services

pytestmark = pytest.mark.lab
TOOLS = {
    "server-1": "ipvsadm -Sn; ip -4 -o address show; sysctl net.ipv4.vs",
    "server-2": "ip -4 -o address; ip -o -d link show eth-vip; arptables-legacy -L -n; {conf}",
    "server-3": "ip -4 -o address; ip -o -d link show eth-vip; arptables-legacy -L -n; {conf}",
}
CONF = "sysctl -a -r 'ipv4.conf.(all|eth0|eth-vip).arp_(ignore|announce)'"
CHANGING = re.compile(r"^\d+: |ether [0-9a-f:]{17}|\bif\d+\b", re.MULTILINE)
ARPINGS = re.compile(r"^(arping -[AU] -c )5\b")
ARPTABLES = reference(**{"reach: lab": "arp: arptables\nreach: lab"})
RICHER = reference(
    **{
        "scheduler: rr": "scheduler: wrr",
        "[server-2, server-3]": "{server-2: {weight: 3}, server-3: {weight: 1}}",
    }
)


def dumps(lab):
    """What the tools show, without what a new link changes by itself."""
    shown = {
        host: lab.sh(host, script.format(conf=CONF), check=False) for host, script in TOOLS.items()
    }
    return {host: CHANGING.sub("", text) for host, text in shown.items()}


class Operator:
    """Plans and applies within the test's own process, over sessions that stay."""

    def __init__(self, lab, proof):
        self.lab, self.proof, self.session = lab, proof, proof.session

    def plan(self, path):
        self.proof.change(path)
        self.session.again()
        return self.session.plan()

    def apply(self, path):
        plan = self.plan(path)
        self.run(plan)
        assert not len(self.plan(path))

    def destroy(self):
        self.session.spec = without_services(self.session.spec)
        self.session.again()
        self.run(self.session.plan())

    def run(self, plan):
        outcome = self.session.run(plan, adopt=False, progress=lambda _: 0, stop=lambda: False)
        assert not outcome.out and not len(outcome.left)

    def commands(self, path):
        """What `plan --commands` prints."""
        plan, screen = self.plan(path), Console(file=io.StringIO(), width=80)
        render.show_commands(screen, plan, self.session.facts)
        return screen.file.getvalue()

    def type(self, text, arpings=1):
        """Type it, host by host, in its order; arping takes a second each time."""
        host, typed = "", []
        for line in text.splitlines():
            if line.startswith("# "):
                host = line[2:]
                assert host in HOSTS
            else:
                assert host, f"no host before {line!r}"
                self.lab.sh(host, ARPINGS.sub(rf"\g<1>{arpings}", line))
                typed.append(f"{host}: {line}")
        print(*typed, sep="\n")
        return typed


@pytest.fixture(scope="module")
def operator(lab):
    with proving(lab, REFERENCE) as proof:
        for place in proof.session.reached.values():
            place.lock()
        yield Operator(lab, proof)


def clear(lab):
    """Take away what was typed by hand, for it is in no record of ours."""
    lab.sh("server-1", "ipvsadm -C; ip address del 203.0.113.2/32 dev eth0", check=False)
    back = "net.ipv4.vs.expire_nodest_conn=0 net.ipv4.vs.expire_quiescent_template=0"
    lab.sh("server-1", f"sysctl -qw {back}")
    for host in HOSTS[1:]:
        lab.sh(host, "ip link del eth-vip; arptables-legacy -F", check=False)
        lab.sh(host, "sysctl -qw net.ipv4.conf.eth0.arp_ignore=0 net.ipv4.conf.eth0.arp_announce=0")


def test_commands_by_hand_give_the_same_state(lab, operator):
    """In a fresh lab, from the real command line, with nothing of ours before or after."""
    text = lab.onearm("plan", REFERENCE, "--commands", code=0).out
    assert operator.commands(REFERENCE) == text
    assert operator.type(text, arpings=5)  # to the letter
    by_hand = dumps(lab)
    assert lab.onearm("plan", REFERENCE, "--check", code=0).out.endswith("nothing to do\n")
    assert operator.proof(cold=True).code(strict=True) == 0
    clear(lab)
    operator.apply(REFERENCE)
    assert dumps(lab) == by_hand
    operator.destroy()


def test_commands_of_the_policy_arptables(lab, operator):
    path = lab.spec(ARPTABLES, "arptables.yaml")
    operator.type(operator.commands(path))
    by_hand = dumps(lab)
    assert not len(operator.plan(path))
    assert operator.proof(cold=True).code(strict=True) == 0
    clear(lab)
    operator.apply(path)
    assert dumps(lab) == by_hand
    assert any("-D OUTPUT" in line for line in operator.type(operator.commands(REFERENCE)))
    by_hand = dumps(lab)
    operator.apply(REFERENCE)  # no change but to the marks, which no tool knows
    assert dumps(lab) == by_hand
    operator.destroy()
    clear(lab)


def test_commands_of_a_change_and_of_a_taking_down(lab, operator):
    first = lab.spec(REFERENCE.read_text(), "first.yaml")
    second = lab.spec(RICHER, "second.yaml")
    fewer = lab.spec(
        RICHER.replace("{server-2: {weight: 3}, server-3: {weight: 1}}", "[server-2]"), "fewer.yaml"
    )
    operator.apply(second)
    wanted = dumps(lab)
    operator.apply(fewer)
    wanted_fewer = dumps(lab)
    operator.apply(first)
    assert any("ipvsadm -E" in line for line in operator.type(operator.commands(second)))
    assert dumps(lab) == wanted
    assert not len(operator.plan(second))
    assert operator.proof().code(strict=True) == 0
    typed = operator.type(operator.commands(fewer))
    assert any("ip link del eth-vip" in line for line in typed)
    assert any("ipvsadm -d" in line for line in typed)
    assert dumps(lab) == wanted_fewer
    operator.destroy()
    clear(lab)


@pytest.mark.parametrize(
    "name", ["eth0.5", "a b", "$(id)", "x;y", "it's", "*", "-v", "ü", 'q"', "a\\b"]
)
def test_a_shell_reads_the_words_as_they_were(lab, name):
    argv = ["printf", "%s|", name, ""]
    assert lab.sh("client", shell_line(argv)) == f"{name}||"
