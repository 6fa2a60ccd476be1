"""What a soak breaks: each trouble with how it is planted, how it is cured, and what it may cost.

A daemon must heal what was done to its own host, and ride out what is done to others.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import NamedTuple

from onearm.lab.faults import planted
from onearm.lab.soak.world import DIRECTOR, HOME, PID, SERVERS, VIP, World

ALL = frozenset(SERVERS)
NONE: frozenset[str] = frozenset()
BROKEN = "directors: [this is: no spec\n"
WEIGHTS = (1, 2, 3)


class Planted(NamedTuple):
    """One that is on: what it is, and at whose servers clients may lose by it.

    `over`: whether all is right again, some time after the cure.
    """

    what: str
    costs: frozenset[str]
    cure: Callable[[], object]
    over: Callable[[], bool]


Trouble = Callable[[World, Random], Planted]


def nothing() -> None:
    """Cure what the daemon heals by itself, or what breaks nothing."""


def right(world: World) -> Callable[[], bool]:
    return lambda: world.whole() and world.announced()


def by_hand(what: str, script: str, *, cuts: bool) -> Trouble:
    """Make one that a hand types on the director; it may concern one real server, or all.

    The daemon may have taken the thing away this very moment: then there is nothing to break.
    """

    def plant(world: World, random: Random) -> Planted:
        server = random.choice(sorted(SERVERS))
        typed = script.format(vip=VIP, address=SERVERS[server])
        world.on(
            DIRECTOR, f"{typed} 2>/run/why || grep -q -e 'No such' -e 'Cannot assign' /run/why"
        )
        one = "{address}" in script
        costs = (frozenset({server}) if one else ALL) if cuts else NONE
        return Planted(f"{what} {server}" if one else what, costs, nothing, right(world))

    return plant


def elsewhere(fault: str, *, misleads: bool = False) -> Trouble:
    """Make one of a real server, out of the table of the lab's faults.

    One that misleads the router moves everybody's connections, there and back.
    """

    def plant(world: World, random: Random) -> Planted:
        server = random.choice(sorted(SERVERS))
        planted.add(world.name, fault, server)
        costs = ALL if misleads else frozenset({server})
        return Planted(
            f"{server}: {fault}", costs, lambda: planted.clear(world.name, fault), right(world)
        )

    return plant


def killed(world: World, _: Random) -> Planted:
    """Kill the daemon; the cure starts it again."""
    world.kill_daemon()
    return Planted("the daemon is killed", NONE, world.start_daemon, right(world))


def reloaded(world: World, _: Random) -> Planted:
    world.on(DIRECTOR, f"kill -HUP $(cat {PID})")
    return Planted("SIGHUP", NONE, nothing, right(world))


def weighted(world: World, random: Random) -> Planted:
    """Replace the spec by one with other weights."""
    world.put_spec((random.choice(WEIGHTS), random.choice(WEIGHTS)))
    return Planted(f"a spec with weights {world.weights}", NONE, nothing, right(world))


def misspelt(world: World, _: Random) -> Planted:
    """Replace the spec by what is none; the daemon goes on with the one it has."""
    world.put_text(BROKEN)
    cure = lambda: world.put_spec(world.weights)  # noqa: E731 - a name for the callback
    return Planted("a spec that is none", NONE, cure, right(world))


def edited(world: World, _: Random) -> Planted:
    """Write the spec in place, as an editor may, in two goes."""
    world.on(DIRECTOR, f"cp {HOME} /run/s; : >{HOME}; sleep 0.2; cat /run/s >{HOME}")
    return Planted("a spec written in two goes", NONE, nothing, right(world))


# By what is broken; each of these needs no other cure than the daemon.
DRIFT = (
    by_hand("ipvsadm -C", "ipvsadm -C", cuts=True),
    by_hand("deleted:", "ipvsadm -d -t {vip}:80 -r {address}", cuts=True),
    by_hand("weight 9:", "ipvsadm -e -t {vip}:80 -r {address} -g -w 9", cuts=False),
    by_hand("weight 0:", "ipvsadm -e -t {vip}:80 -r {address} -g -w 0", cuts=False),
    by_hand("scheduler rr", "ipvsadm -E -t {vip}:80 -s rr", cuts=False),
    by_hand("the VIP is taken off", "ip address del {vip}/32 dev eth0", cuts=True),
    by_hand("nodest=0", "sysctl -qw net.ipv4.vs.expire_nodest_conn=0", cuts=False),
    by_hand("accept_local=0", "sysctl -qw net.ipv4.conf.eth0.accept_local=0", cuts=False),
)
SERVERS_FAIL = (
    elsewhere("vip-missing"),
    elsewhere("listen-nowhere"),
    elsewhere("server-hangs"),
    elsewhere("nic-down"),
    elsewhere("server-drops"),
    elsewhere("arp-nothing", misleads=True),
)
DAEMON = (reloaded, weighted, misspelt, edited)


def choose(random: Random, *, elsewhere: bool, deadly: bool) -> Trouble:
    """Choose a kind, then one of it; other hosts and the daemon's death may be left out."""
    daemon = (*DAEMON, killed) if deadly else DAEMON
    kinds = (DRIFT, daemon, SERVERS_FAIL) if elsewhere else (DRIFT, daemon)
    return random.choice(random.choice(kinds))
