"""What somebody changed by hand: plan shows exactly that, apply heals exactly that."""

import pytest
from labs import REFERENCE

pytestmark = pytest.mark.lab

SERVICE = "virtual service 203.0.113.2:80/tcp"
# By host: (what a hand did, the actions that put it right). Those of one round do not touch.
ROUNDS = [
    {
        "server-1": [
            (
                "ipvsadm -e -t 203.0.113.2:80 -r 203.0.113.5:80 -g -w 7",
                ["update destination server-3 of 203.0.113.2:80/tcp: weight 7 -> 1"],
            ),
        ]
    },
    {
        "server-1": [
            (
                "ipvsadm -E -t 203.0.113.2:80 -s sh -b sh-port",
                [f"update {SERVICE}: scheduler sh -> rr, flags sh-port -> none"],
            ),
            (
                "ipvsadm -e -t 203.0.113.2:80 -r 203.0.113.5:80 -m -w 1",
                ["update destination server-3 of 203.0.113.2:80/tcp: forwarding masq -> direct"],
            ),
            (
                "ipvsadm -d -t 203.0.113.2:80 -r 203.0.113.4:80",
                ["create destination server-2 of 203.0.113.2:80/tcp weight 1"],
            ),
            (
                "ip address del 203.0.113.2/32 dev eth0",
                ["create VIP 203.0.113.2/32 on eth0, announced"],
            ),
            (
                "sysctl -q -w net.ipv4.vs.expire_nodest_conn=0",
                ["update sysctl net.ipv4.vs.expire_nodest_conn: value 0 -> 1"],
            ),
        ],
        "server-2": [
            (
                "ip address del 203.0.113.2/32 dev eth-vip",
                ["create VIP 203.0.113.2/32 on eth-vip"],
            ),
        ],
        "server-3": [
            (
                "ip link set eth-vip down",
                ["update dummy link eth-vip: up no -> yes"],
            ),
        ],
    },
    {
        "server-1": [
            (
                "ipvsadm -D -t 203.0.113.2:80",
                [
                    f"create {SERVICE} rr",
                    "create destination server-2 of 203.0.113.2:80/tcp weight 1",
                    "create destination server-3 of 203.0.113.2:80/tcp weight 1",
                ],
            ),
            (
                "ip address add 203.0.113.2/31 dev eth0; ip address del 203.0.113.2/32 dev eth0",
                ["update VIP 203.0.113.2/32 on eth0, announced: prefix_length 31 -> 32"],
            ),
        ],
        "server-2": [
            (
                "sysctl -q -w net.ipv4.conf.eth0.arp_ignore=0 net.ipv4.conf.eth0.arp_announce=0",
                [
                    "create ARP silence on eth0 by sysctl",
                    "note that the VIP was announced since ARP silence on eth0 by sysctl stands",
                ],
            ),
            (
                "ip link add late link eth0 up type macvlan mode bridge",
                [
                    "create ARP silence on late by sysctl",
                    "note that the VIP was announced since ARP silence on late by sysctl stands",
                ],
            ),
        ],
        "server-3": [
            (
                "ip link del eth-vip",
                ["create dummy link eth-vip", "create VIP 203.0.113.2/32 on eth-vip"],
            ),
        ],
    },
]


@pytest.fixture(scope="module", autouse=True)
def applied(lab):
    lab.onearm("apply", REFERENCE, "--yes", code=0)
    yield
    lab.onearm("destroy", REFERENCE, "--yes", code=0)
    lab.sh("server-2", "ip link del late", check=False)
    assert lab.on("server-2", "sysctl", "-n", "net.ipv4.conf.eth0.arp_ignore") == "0\n"


@pytest.mark.parametrize("happened", ROUNDS, ids=["a weight", "one of each kind", "whole parts"])
def test_plan_shows_exactly_what_a_hand_changed_and_apply_heals_it(lab, happened):
    for host, hands in happened.items():
        lab.sh(host, "\n".join(hand for hand, _ in hands))
    cures = sorted(
        (host, cure) for host, hands in happened.items() for _, found in hands for cure in found
    )
    plan = lab.onearm("plan", REFERENCE, "--check", "--json", code=5).json()
    assert plan["refusals"] == [] and not plan["converged"]
    assert _listed(plan["actions"]) == cures
    outcome = lab.onearm("apply", REFERENCE, "--yes", "--json", code=0).json()
    assert _listed(outcome["done"]) == cures
    assert (outcome["left"], outcome["out"]) == ([], {})


def test_and_then_there_is_nothing_to_do(lab):
    assert lab.onearm("plan", REFERENCE, "--check", "--json", code=0).json()["converged"]


def _listed(actions):
    return sorted((action["place"], action["text"]) for action in actions)
