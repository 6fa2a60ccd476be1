"""What people read: at any width, without colour in pipes, and no host's words as markup."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from onearm import render
from onearm.diff import Plan
from onearm.facts import ServiceFact
from onearm.model import Action, HeldVip, Link
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
