r"""Regular expressions in linear time: no pattern and no text can hang the one who searches.

A subset of Python's: literals, `.`, classes, groups, `|`, `* + ? {m,n}` (lazy or not: all that is
asked is whether it matches), `^ $ \b \B \A \Z`, and the flags i, s and m in front. Look-around and
back references are refused, for they are what makes backtracking necessary. Text is bytes and is
fed in pieces; a deterministic automaton is built as it is needed (as RE2 does) and bounded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

from onearm.pattern_parse import ASSERT, MATCH, SET, SPLIT, Flaw, program

__all__ = ["Flaw", "Pattern", "Search", "compiled"]

TRANSITIONS_MOST = 20_000  # kept of one pattern, about 2 MiB; then the automaton begins anew
WORK_MOST = 200_000  # instructions visited for one text beside what is kept: about 30 ms

START, NEWLINE, WORD, OTHER, END = range(5)  # what stands on either side of a position
_KIND = tuple(
    NEWLINE if byte == 10 else WORD if byte < 128 and (chr(byte).isalnum() or byte == 95) else OTHER  # noqa: PLR2004 - \n and _
    for byte in range(256)
)


@dataclass(eq=False)
class _State:
    """Where all threads of the search stand, and what is known of the next step from here."""

    threads: frozenset[int]
    before: int
    following: dict[int, _State] = field(default_factory=dict)
    ends: bool | None = None


_FOUND = _State(frozenset(), OTHER)


class Pattern:
    """A compiled pattern; `search()` begins with a new text."""

    def __init__(self, text: str, encoding: str) -> None:
        self.text = text
        self._code = program(text, encoding)
        self._states: dict[tuple[frozenset[int], int], _State] = {}
        self._transitions = 0
        self._first = self._firsts()

    def search(self) -> Search:
        return Search(self)

    def state(self, threads: frozenset[int], before: int) -> _State:
        key = (threads, before)
        found = self._states.get(key)
        if found is None:
            found = self._states[key] = _State(threads, before)
        return found

    def skip(self, data: bytes, at: int) -> int:
        """Give the next place where a match can begin."""
        if self._first is None:
            return at
        found = self._first.search(data, at)
        return len(data) if found is None else found.start()

    def step(self, state: _State, byte: int) -> tuple[_State, int]:
        """Give the state behind one more byte, and the work that it was to find it."""
        threads, work = self._closure(state, _KIND[byte])
        if threads is None:
            following = _FOUND
        else:
            moved = frozenset(at + 1 for at in threads if self._code[at][1] >> byte & 1)
            following = self.state(moved, _KIND[byte])
        self._transitions += 1
        if self._transitions > TRANSITIONS_MOST:
            self._states.clear()  # those in use stay with their searches
            self._transitions = 0
            state.following = {}
        state.following[byte] = following
        return following, work

    def ends(self, state: _State) -> bool:
        if state.ends is None:
            state.ends = self._closure(state, END)[0] is None
        return state.ends

    def _closure(self, state: _State, after: int) -> tuple[list[int] | None, int]:
        """Follow all that consumes nothing; None for the threads means that one matched."""
        seen: set[int] = set()
        open_ = [0, *state.threads]
        waiting = []
        while open_:
            at = open_.pop()
            if at in seen:
                continue
            seen.add(at)
            kind, value, other = self._code[at]
            if kind == SET:
                waiting.append(at)
            elif kind == SPLIT:
                open_ += (value, other)
            elif kind == MATCH:
                return None, len(seen)
            elif _holds(value, state.before, after):
                open_.append(at + 1)
        return waiting, len(seen)

    def _firsts(self) -> re.Pattern[bytes] | None:
        """Make the class of bytes with which a match begins; None when it may begin with any."""
        open_, seen, firsts = [0], set(), 0
        while open_:
            at = open_.pop()
            kind, value, other = self._code[at]
            if at in seen:
                continue
            seen.add(at)
            if kind == MATCH:
                return None
            if kind == SET:
                firsts |= value
            else:
                open_ += (value, other) if kind == SPLIT else (at + 1,)
        members = bytes(byte for byte in range(256) if firsts >> byte & 1)
        if not members:
            return re.compile(b"(?!)")
        return re.compile(b"[%b]" % b"".join(b"\\x%02x" % byte for byte in members))


def _holds(name: int, before: int, after: int) -> bool:
    """Say whether an assertion holds between two kinds of bytes."""
    if name == ASSERT["A"]:
        return before == START
    if name == ASSERT["Z"]:
        return after == END
    if name == ASSERT["^"]:
        return before in {START, NEWLINE}
    if name == ASSERT["$"]:
        return after in {END, NEWLINE}
    return ((before == WORD) != (after == WORD)) == (name == ASSERT["b"])


class Search:
    """One text, fed in pieces: True once the pattern was found in it. Nothing of it is kept."""

    def __init__(self, pattern: Pattern) -> None:
        self._pattern = pattern
        self._state = pattern.state(frozenset(), START)
        self.left = WORK_MOST

    @property
    def exhausted(self) -> bool:
        """Say that the text was too intricate: whether the pattern matches is not known."""
        return self.left <= 0

    def feed(self, data: bytes) -> bool:
        self._state = self._walk(data)
        return self._state is _FOUND

    def end(self) -> bool:
        """Say whether it is found now that the text ends."""
        found = self._state is _FOUND or (not self.exhausted and self._pattern.ends(self._state))
        self._state = _FOUND if found else self._state
        return found

    def _walk(self, data: bytes) -> _State:
        """Give the state at the end of the piece, at a match, or where the work ended."""
        pattern, state, at, size = self._pattern, self._state, 0, len(data)
        while at < size and state is not _FOUND and self.left > 0:
            if not state.threads:
                jump = pattern.skip(data, at)
                if jump > at:
                    state = pattern.state(frozenset(), _KIND[data[jump - 1]])
                    at = jump
                    continue
            following = state.following.get(data[at])
            if following is None:
                following, work = pattern.step(state, data[at])
                self.left -= work
            state = following
            at += 1
        return state


@lru_cache(maxsize=256)
def compiled(text: str, encoding: str = "utf-8") -> Pattern:
    """Compile once; `latin-1` means a byte for each character. Raises Flaw."""
    return Pattern(text, encoding)
