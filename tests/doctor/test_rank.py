"""The table is sane, and findings are folded under those that explain them."""

from fnmatch import fnmatchcase

from onearm.doctor import rank
from onearm.doctor.clue import Clue
from onearm.doctor.table import TABLE
from onearm.finding import SEVERITIES, Finding


def named(identity, touches=(), severity="error", party="p"):
    return rank.Named(Finding(identity, severity, party, "seen", "cure"), frozenset(touches))


def ranked(*found):
    roots, folded = rank._fold(found)
    return rank._merged(rank._ranked(roots, folded))


def test_every_row_is_whole():
    ids = [row.id for row in TABLE]
    assert len(ids) == len(set(ids))
    for row in TABLE:
        assert row.severity in SEVERITIES, row.id
        assert row.means, row.id
        for pattern in row.explains:
            assert any(fnmatchcase(i, pattern) for i in ids), f"{row.id} explains {pattern}: none"


def test_no_finding_explains_itself_by_detours():
    above = {
        row.id: {
            other.id
            for other in TABLE
            if other.id != row.id and any(fnmatchcase(row.id, p) for p in other.explains)
        }
        for row in TABLE
    }
    for identity, first in above.items():
        seen, todo = set(), set(first)
        while todo:
            one = todo.pop()
            assert one != identity, f"{identity} is explained by itself"
            if one not in seen:
                seen.add(one)
                todo |= above[one]


def test_a_symptom_goes_under_its_cause_on_the_same_server_alone():
    found = ranked(
        named("hop.server_unanswered", ["server-2"]),
        named("vip.missing", ["server-2"]),
        named("hop.server_unanswered", ["server-3"]),
    )
    assert [one.finding.id for one in found] == ["vip.missing", "hop.server_unanswered"]
    assert [f.id for f in found[0].because] == ["hop.server_unanswered"]
    assert found[1].touches == {"server-3"}


def test_a_warning_that_explains_an_error_is_one():
    found = ranked(named("hop.large_reply", ["server-2"]), named("fw.d.icmp", severity="warning"))
    assert [(one.finding.id, one.finding.severity) for one in found] == [("fw.d.icmp", "error")]


def test_causes_of_causes_fold_to_the_first():
    found = ranked(
        named("hop.around", ["server-2"]),
        named("arp.stale"),
        named("vip.duplicate", ["server-2"]),
        named("arp.answers", ["server-2"]),
    )
    assert [one.finding.id for one in found] == ["arp.answers"]
    assert {f.id for f in found[0].because} == {"hop.around", "arp.stale", "vip.duplicate"}


def test_the_nearest_to_the_client_comes_first_and_causes_before_symptoms():
    found = ranked(
        named("hop.director_to_server", ["server-3"]),
        named("listen.on_vip", ["server-2"]),
        named("arp.stale"),
        named("vs.conntrack", severity="warning"),
    )
    ids = [one.finding.id for one in found]
    assert ids == ["arp.stale", "listen.on_vip", "vs.conntrack"]


def test_the_same_of_several_services_is_said_once():
    row = next(row for row in TABLE if row.id == "ipvs.weights")
    clues = [Clue("d", f"seen {n}", "", "why", "cure", about=f"vip:{n}/tcp") for n in (80, 443)]
    (one,) = ranked(*(rank._named(row, clue) for clue in clues))
    assert one.finding.about == "vip:80/tcp"
    assert one.more == ("vip:443/tcp",)
