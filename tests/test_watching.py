"""`status --watch`: what it shows in any terminal, and what each key does."""

import string
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pictures
from onearm.screen import body, causes
from onearm.watch import split_keys
from onearm.watching import Ask, View, frame, pressed, slots, told

SMALL, TROUBLE, LARGE = pictures.small(), pictures.trouble(), pictures.large()


def view_of(snapshot):
    return told(View(snapshot), snapshot)


def typed(view, *keys):
    asked = []
    for key in keys:
        view, ask = pressed(view, key)
        asked += [ask] if ask else []
    return view, asked


def plain(view, width=80, height=24):
    return [line.plain for line in frame(view, width, height)]


@pytest.mark.parametrize("make", pictures.ALL.values(), ids=pictures.ALL)
@pytest.mark.parametrize(("width", "height"), [(80, 24), (60, 10), (40, 8), (120, 40), (200, 100)])
def test_it_is_as_large_as_the_terminal(make, width, height):
    lines = frame(view_of(make()), width, height)
    assert len(lines) == height
    assert max(line.cell_len for line in lines) <= width


def test_trouble_is_seen_at_a_glance():
    lines = plain(view_of(TROUBLE))
    assert lines[0].startswith("onearm web · director server-1") and lines[0].endswith("● live")
    assert lines[1].startswith("✖ server-3 (fa:16:3e:00:00:05) answers ARP for 203.0.113.2")
    assert lines[2] == "✖ 203.0.113.2 claimed by fa:16:3e:00:00:05 (server-3), too"
    (row,) = [line for line in lines if line.startswith(" ✖  server-3")]
    assert row.split()[1:6] == ["server-3", "down", "12s", "0/1", "3"]
    assert any(pictures.NO_VIP in line for line in lines)


def test_states_differ_without_colour():
    signs = {
        server.state: line.text.plain[1]
        for line in body(LARGE, 120)
        for service in LARGE.services
        for server in service.servers
        if line.slot and line.slot[1] == server.host and server.state in line.text.plain
    }
    assert len(set(signs.values())) == len(signs) >= 6


@pytest.mark.parametrize("height", [10, 24, 40])
def test_every_server_can_be_reached_and_is_seen_when_selected(height):
    view = view_of(LARGE)
    seen = []
    for _ in slots(LARGE):
        (marked,) = [line for line in plain(view, 80, height) if line.startswith("▸")]
        seen.append(marked.split()[1])
        view, _ = pressed(view, "j")
    assert seen == [slot[1] for slot in slots(LARGE)]
    assert view.selected == slots(LARGE)[-1]
    assert typed(view, "g")[0].selected == slots(LARGE)[0]
    assert typed(view, *["k"] * 59)[0].selected == slots(LARGE)[0]


def test_the_selection_stays_with_its_server():
    view, _ = typed(view_of(LARGE), "j", "j")
    fewer = replace(LARGE, services=LARGE.services[:1])
    assert told(view, fewer).selected == view.selected
    assert told(view, pictures.snapshot([])).selected is None
    assert plain(told(view, pictures.snapshot([])))


@pytest.mark.parametrize(
    ("keys", "asked"),
    [
        (("d", "\r"), [Ask("drain", "server-2")]),
        (("d", "5", "m", "\n"), [Ask("drain", "server-2", 300.0)]),
        (("d", "5", "5", "\x7f", "m", "\r"), [Ask("drain", "server-2", 300.0)]),
        (("j", "d", "0", "\r"), [Ask("drain", "server-3", 0.0)]),
        (("d", "\x1b"), []),
        (("d", "5", "\r"), []),
        (("u", "y"), [Ask("undrain", "server-2")]),
        (("u", "n"), []),
        (("u", "\r"), []),
        (("u", "q"), []),
        (("x", "\t", "5"), []),
    ],
)
def test_keys(keys, asked):
    view, found = typed(view_of(SMALL), *keys)
    assert found == asked and view.question is None and not view.leaving


def test_a_deadline_that_is_none_is_told_and_asks_nothing():
    view, _ = typed(view_of(SMALL), "d", "5", "\r")
    assert plain(view)[-1] == "'5' is no deadline: give it as 30s, 5m or 1h"


def test_n_goes_round_those_that_are_not_up():
    view, seen = view_of(LARGE), []
    for _ in range(11):
        view, _ = pressed(view, "n")
        seen.append(view.selected)
    wanted = {80: "7 12 17", 443: "7 8 12 17", 53: "7 17 20"}
    names = [(s.port, f"server-{n}") for s in LARGE.services for n in wanted[s.port].split()]
    assert [(int(slot[0].split(":")[1].split("/")[0]), slot[1]) for slot in seen[:10]] == names
    assert seen[10] == seen[0]
    assert pressed(view_of(SMALL), "n")[0] == view_of(SMALL)


def test_the_question_is_shown_and_q_leaves():
    view, _ = typed(view_of(SMALL), "d", "5", "m")
    assert plain(view)[-1].startswith("Drain server-2?") and "5m" in plain(view)[-1]
    assert typed(view_of(SMALL), "q")[0].leaving


@given(st.lists(st.sampled_from([*string.printable, "\x1b[A", "\x1b[B", "\x1b[5~"]), max_size=40))
def test_no_keys_drain_without_an_answer(keys):
    view, asked = view_of(SMALL), []
    for key in keys:
        before = view
        view, ask = pressed(view, key)
        if ask:
            assert before.question and key in ("\r", "\n", "y", "Y")
            asked.append(ask)
    assert len(frame(view, 80, 24)) == 24


def test_silence_is_shown():
    view = replace(view_of(SMALL), error="the daemon hung up", silent_s=12)
    lines = plain(view)
    assert lines[0].endswith("✖ no answer for 12 s") and lines[-1] == "the daemon hung up"
    assert told(view, SMALL).error == ""


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("jk", ["j", "k"]),
        ("\x1b[A\x1b[B", ["\x1b[A", "\x1b[B"]),
        ("\x1bOAq", ["\x1bOA", "q"]),
        ("\x1b[5~d", ["\x1b[5~", "d"]),
        ("\x1b", ["\x1b"]),
        ("", []),
    ],
)
def test_keys_that_come_in_one_go_are_told_apart(text, keys):
    assert list(split_keys(text)) == keys


def test_causes_say_what_follows():
    first, second = [line.plain for line in causes(TROUBLE, 200)]
    assert "onearm doctor says how" in first and pictures.NO_VIP in second
