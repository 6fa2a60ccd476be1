"""What people read: at any width, without colour in pipes, and no host's words as markup."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from onearm import render
from onearm.diff import Plan
from onearm.errors import Unreachable
from onearm.facts import HostFacts, ServiceFact
from onearm.model import Action, HeldVip, Link
from onearm.reconcile import Outcome
from worlds import SPEC, VIP, facts

HOSTILE = "[/red][bold]:smile:[link=x]"


def console(width=80):
    return Console(file=io.StringIO(), width=width, markup=False, emoji=False, highlight=False)


@pytest.mark.parametrize("width", [20, 80])
def test_no_line_is_wider_than_the_screen(width):
    screen = console(width)
    plan = Plan(({"r1": (Action("r1", None, Link("eth-vip")), Action("r1", None, HeldVip(VIP)))},))
    render.show_plan(screen, plan, facts(), {})
    text = screen.file.getvalue()
    assert max(map(len, text.splitlines())) <= max(width, 30)
    assert "r1" in text


def test_what_hosts_say_is_no_markup():
    world = facts()
    foreign = ServiceFact("tcp", VIP, 9, 0, HOSTILE)
    world["d"] = replace(world["d"], services=(foreign,))
    screen = console(200)
    render.show_status(screen, SPEC, world)
    render.show_out(screen, {"r1": ValueError(HOSTILE)})
    assert screen.file.getvalue().count(HOSTILE) == 2


def test_a_pipe_gets_whole_lines_without_colour(monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    render.screen().print("x" * 300, style="red")
    assert capsys.readouterr().out == "x" * 300 + "\n"


def outcome(left=(), undone=(), done=(), **out):
    plan = Plan(({"r1": tuple(left)},)) if left else Plan()
    return Outcome(list(done), plan, out, list(undone))


def told(found, hosts):
    screen = console()
    render.show_outcome(screen, found, dict.fromkeys(hosts, HostFacts()), {})
    return screen.file.getvalue().splitlines()


LINKED, HOLDS = Action("r1", None, Link("eth-vip")), Action("r1", None, HeldVip(VIP))


def test_nothing_left_is_one_line():
    assert told(outcome(done=[LINKED]), ["r1"]) == ["1 change done"]


def test_what_is_left_is_said_host_by_host():
    found = outcome([LINKED], [replace(HOLDS, place="r2")], r2=Unreachable("r2: gone"))
    assert told(found, ["r1", "r2", "r3", "d"]) == [
        "0 changes done",
        "out r2: gone",
        "    left there when it was last seen: 1 to create",
        f"     + create VIP {VIP}/32 on eth-vip",
        "         accepts packets for the VIP, in silence",
        "left on r1: 1 to create",
        "     + create dummy link eth-vip",
        "nothing is left on 2 other places",
        "what is left waits for what is out; take a host gone for good out of the spec",
    ]


def test_many_that_are_out_for_one_reason_are_one_paragraph():
    out = {f"r{n}": Unreachable(f"r{n}: left aside by --limit") for n in range(30)}
    said = told(outcome(**out, d=Unreachable("d: gone")), ["r99"])
    assert said[:3] == ["0 changes done", "out d: gone", "out 30 places: left aside by --limit"]
    assert " ".join(said[3:-1]).split() == sorted(f"r{n}" for n in range(30))
    assert said[-1] == "nothing is left on 1 other place"


def test_what_is_left_on_one_of_many_is_below_its_name():
    out = {f"r{n}": Unreachable(f"r{n}: gone") for n in range(30)}
    said = told(outcome(undone=[replace(HOLDS, place="r7")], **out), [])
    at = said.index("    r7: left there when it was last seen: 1 to create")
    assert said[at + 1] == f"     + create VIP {VIP}/32 on eth-vip"
