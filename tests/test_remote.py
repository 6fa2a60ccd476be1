"""A reply of the wrong shape is a sentence that names the host, whichever verb asked for it."""

from ipaddress import ip_address

import pytest

from onearm import wire
from onearm.entries import Wanted
from onearm.errors import PlaceError
from onearm.facts import AddressFact, HostFacts, ServiceFact
from onearm.model import Action, Link, Mark, Seen, Sysctl, state
from onearm.places.look import Question
from onearm.places.remote import RemotePlace
from onearm.traffic import Attempt, Errand
from onearm.vitals import Listener, RulesFact, Vitals

VIP, OWN = ip_address("203.0.113.2"), ip_address("203.0.113.3")
LINK = Link("eth-vip")
MAKE, TAKE = Action("a", None, LINK), Action("a", LINK, None)
ERRAND = Errand("tcp", VIP, 80, (VIP,))


class Script:
    """A conversation that says what it is told, and keeps what it was asked."""

    def __init__(self, parts, ok):
        self.parts, self.ok, self.asked, self.rows = parts, ok, [], []

    def ask(self, request, rows, part):
        self.asked.append(request)
        self.rows = list(rows)
        try:
            for data in self.parts:
                part(data)
        except wire.WireError as error:  # as the real one does
            raise PlaceError(f"server-1: {error}") from error
        return self.ok

    stream = ask

    def close(self):
        self.asked.append("close")


def place(*parts, ok=None):
    found = RemotePlace("server-1", [], "web", 1)
    found._conversation = Script(parts, ok)
    return found


VERBS = {
    "look": lambda p: p.look(Question()),
    "observe": lambda p: p.observe(state([LINK])),
    "apply": lambda p: p.apply((MAKE,), lambda _: None),
    "forget": lambda p: p.forget([VIP]),
    "who_has": lambda p: p.who_has("eth0", VIP, VIP, 1),
    "captured": lambda p: p.captured("x"),
    "connect": lambda p: p.connect(ERRAND),
    "vitals": lambda p: p.vitals([VIP], [(VIP, VIP)]),
    "connections": lambda p: p.connections(Wanted(), (), lambda _entry: None),
}
SILENT = {
    "lock": lambda p: p.lock(),
    "hosts": lambda p: p.remember_hosts(["a"]),
    "capture": lambda p: p.capture("x", [VIP]),
}
SHAPES = [7, "x", None, True, [7], [None], {"a": 1}, {"done": "x"}, {"links": 7}, [[]], 1e999]


@pytest.mark.parametrize("shape", SHAPES, ids=repr)
@pytest.mark.parametrize("verb", VERBS | SILENT)
def test_a_part_of_a_wrong_shape(verb, shape):
    with pytest.raises(PlaceError, match=r"^server-1: "):
        (VERBS | SILENT)[verb](place(shape, ok={}))


@pytest.mark.parametrize(
    "shape", [7, "x", None, [7], {"lost": "x"}, {"lost": None, "x": 1}], ids=repr
)
@pytest.mark.parametrize("verb", ["look", "forget", "who_has", "captured", "vitals", "connections"])
def test_an_end_of_a_wrong_shape(verb, shape):
    with pytest.raises(PlaceError, match=r"^server-1: "):
        VERBS[verb](place(ok=shape))


@pytest.mark.parametrize("said", [{"done": 1}, {"done": -1}, {"refused": 9, "error": {}}])
def test_an_action_that_nobody_sent(said):
    with pytest.raises(PlaceError, match="nobody sent"):
        place(said).apply((MAKE,), lambda _: None)


def test_apply_tells_what_took_effect_and_what_was_refused():
    error = {"kind": "Denied", "text": "no"}
    found = place({"done": 1}, {"refused": 0, "error": error})
    done = []
    refused = found.apply((MAKE, TAKE), done.append)
    assert done == [TAKE]
    assert {action: str(why) for action, why in refused.items()} == {MAKE: "no"}
    assert found._conversation.rows == [MAKE, TAKE]


def test_look_puts_the_parts_together():
    service = ServiceFact("tcp", VIP, 80, 0, "rr")
    parts = [{"services": [wire.encode(service)]}, {"marks": [wire.encode(Mark(LINK, ("web",)))]}]
    facts = place(*parts, ok=wire.encode(HostFacts(hostname="x"))).look(Question())
    assert facts == HostFacts(hostname="x", services=(service,), marks=(Mark(LINK, ("web",)),))


def test_vitals_are_put_together_from_rows():
    service = ServiceFact("tcp", VIP, 80, 0, "rr")
    listener = Listener("tcp", VIP, 80)
    rules = [RulesFact("iptables-legacy", f"line {n}", cut=True) for n in range(2)]
    parts = [
        {"services": [wire.encode(service)], "listeners": [wire.encode(listener)]},
        {"sysctls": [wire.encode(Sysctl("net/a", "1"))], "rules": [wire.encode(rules[0])]},
        {"rules": [wire.encode(rules[1])]},
    ]
    found = place(*parts, ok=wire.encode(Vitals(counters={"Ip.InReceives": 1})))
    assert found.vitals([VIP], [(OWN, VIP)]) == Vitals(
        listeners=(listener,),
        counters={"Ip.InReceives": 1},
        sysctls={"net/a": "1"},
        rules=(RulesFact("iptables-legacy", "line 0\nline 1", cut=True),),
        services=(service,),
    )
    back = [[str(OWN), str(VIP)]]
    assert found._conversation.asked == [{"do": "vitals", "vips": [str(VIP)], "back": back}]


@pytest.mark.parametrize("length", [-1, 33, 10**30])
def test_a_prefix_length_that_cannot_be(length):
    fact = wire.encode(AddressFact("eth0", VIP, 24)) | {"prefix_length": length}
    with pytest.raises(PlaceError, match=r"^server-1: .*prefix length"):
        place({"addresses": [fact]}, ok={}).look(Question())


def test_observe_indexes_what_is_seen():
    seen = Seen(LINK, ("web",), LINK)
    assert place([wire.encode(seen)]).observe({}) == {("Link", "eth-vip"): seen}


def test_close_ends_the_conversation():
    found = place()
    found.close()
    assert found._conversation.asked == ["close"]


def test_what_is_asked_is_plain_data():
    found = place([wire.encode(Attempt(VIP, 1, "connected"))])
    assert found.connect(ERRAND) == [Attempt(VIP, 1, "connected")]
    assert found._conversation.asked == [{"do": "connect", "errand": wire.encode(ERRAND)}]
