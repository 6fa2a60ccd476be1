"""Patterns say what Python's re says, in linear time, whatever they are searched in."""

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onearm.pattern import WORK_MOST, Flaw, compiled

SETS = ["a", "b", ".", "[ab]", "[^a-b]", r"[\w\n]", "[]a]", "[a-]", r"\d", r"\w", r"\S", "\n", " "]
GROUPS = ["(a|b)", "(?:ab)", "(a*)", "(|b)", "(a|b*)", "1", r"\x41", r"\.", "{", "(?:ä)"]
ATOMS = st.sampled_from(SETS) | st.sampled_from(GROUPS)
EDGES = st.sampled_from([r"\b", r"\B", "^", r"\A", r"\Z"])
TIMES = st.sampled_from(["", "", "*", "+", "?", "{2}", "{1,2}", "{,2}", "{1,}", "*?"])
PARTS = st.tuples(ATOMS, TIMES).map("".join) | EDGES | st.just("|")
FLAGS = st.sampled_from(["", "(?m)", "(?s)", "(?i)", "(?im)"])
PATTERNS = st.tuples(FLAGS, st.lists(PARTS, max_size=6).map("".join), st.sampled_from(["", "$"]))
TEXTS = st.text("abA1 \n.ä", max_size=9).map(str.encode)


def found(pattern, pieces, encoding="utf-8"):
    search = compiled(pattern, encoding).search()
    for piece in pieces:
        search.feed(piece)
    return search.end()


@given(PATTERNS.map("".join), TEXTS.filter(bool), st.integers(0, 9))
def test_it_finds_what_re_finds_in_whatever_pieces_it_comes(pattern, text, cut):
    expected = re.search(pattern.encode(), text) is not None
    assert found(pattern, [text]) == expected
    assert found(pattern, [text[:cut], b"", text[cut:]]) == expected


@given(st.text(max_size=30), st.sampled_from(["utf-8", "latin-1"]), st.binary(max_size=20))
def test_any_text_is_a_pattern_or_has_a_flaw(pattern, encoding, text):
    with contextlib.suppress(Flaw):
        assert found(pattern, [text], encoding) in {True, False}


@pytest.mark.parametrize(
    ("pattern", "encoding", "text", "expected"),
    [
        ("grün", "utf-8", "es ist grün".encode(), True),
        ("(?:ü)+$", "utf-8", "üü".encode(), True),
        ("\xff.\x00", "latin-1", b"a\xff\xfe\x00", True),
        (r"[\x80-\xff]{3}", "latin-1", b"\x80\x90", False),
        ("", "utf-8", b"", True),
        (r"(?i)\x41", "utf-8", b"a", True),
        (r"(?i)[\x41-\x43]", "utf-8", b"b", True),
        ("a$", "utf-8", b"a\n", True),
        ("a$", "utf-8", b"a\n\n", False),
        ("(?m)^b$", "utf-8", b"a\nb\nc", True),
        (r"[^\x00-\xff]", "utf-8", b"abc", False),
    ],
)
def test_bytes_and_edges(pattern, encoding, text, expected):
    assert found(pattern, [text], encoding) is expected


@pytest.mark.parametrize(
    ("pattern", "flaw"),
    [
        (r"(a)\1", "\\1 is not supported"),
        ("(?=a)", "look-around"),
        ("(?P<a>b)", "named"),
        ("(?x)a", "only i, s and m"),
        ("a**", "repeated"),
        ("*a", "nothing stands before *"),
        ("(a", "without its )"),
        ("a)", "without its ("),
        ("[a", "without its ]"),
        ("[b-a]", "ends before it begins"),
        ("a{3,2}", "ends before it begins"),
        ("[ä]", "single bytes"),
        ("\\", "backslash"),
        (r"\b*", "assertion"),
        ("(" * 21 + ")" * 21, "groups in groups"),
        ("a" * 501, "longer than 500"),
        ("((a{30}){30}){30}", "more than 1000 steps"),
    ],
)
def test_what_is_refused_says_why(pattern, flaw):
    with pytest.raises(Flaw, match=re.escape(flaw)):
        compiled(pattern)


CATASTROPHES = ["(a+)+b", "(a|aa)+$b", "(a*)*(a*)*b", "(?s).*.*.*.*b", "a?" * 99 + "a" * 99 + "b"]


@pytest.mark.parametrize("pattern", CATASTROPHES, ids=lambda pattern: pattern[:12])
def test_what_hangs_re_takes_one_walk_through_the_text(pattern):
    search = compiled(pattern).search()
    assert not search.feed(b"a" * 65536)
    assert search.left > WORK_MOST // 2


def test_a_text_made_to_blow_the_automaton_up_is_given_up():
    """Each new piece of it leads to places not seen before: 2^16 of them are possible."""
    search = compiled("(a|b)*a(a|b){16}c").search()
    bits = 1
    for _ in range(4096):
        bits = (bits * 1103515245 + 12345) & 0x7FFFFFFF
        search.feed(f"{bits:031b}".translate({48: "a", 49: "b"}).encode())
    assert search.exhausted and not search.end()
