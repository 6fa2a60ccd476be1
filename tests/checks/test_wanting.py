"""A kind of check that lacks a part cannot be made: that shows at once, not when it is asked."""

import pytest
from asking import check, target

from onearm.checks.http import Http
from onearm.checks.icmp import Icmp
from onearm.checks.kinds import KINDS
from onearm.checks.place import Place
from onearm.checks.probe import Probe
from onearm.checks.stream import Conversation
from onearm.checks.tls import Secured
from onearm.checks.udp import Asking

BASES = (Probe, Conversation, Secured, Asking)
PARTS = [(base, part) for base in BASES for part in sorted(base.__abstractmethods__)]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_all_its_parts(kind):
    assert isinstance(KINDS[kind](Place(target(check(kind, query="a.example"), 1))), Probe)


@pytest.mark.parametrize(("base", "part"), PARTS)
def test_a_kind_without_one_of_its_parts_cannot_be_made(base, part):
    parts = {name: lambda *_: None for name in base.__abstractmethods__ - {part}}
    wanting = type("Wanting", (base,), parts)
    with pytest.raises(TypeError, match=part):
        wanting(Place(target(check("tcp"), 1)))


def test_there_are_parts_to_lack():
    assert {part for _, part in PARTS} >= {"begin", "ready", "hear", "inside", "judge"}
    assert not Http.__abstractmethods__ and not Icmp.__abstractmethods__
