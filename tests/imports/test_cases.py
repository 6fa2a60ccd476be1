"""Files as people have them, and the specs that they become."""

import re

import pytest
from imported import CASES, FILES, comments, found_in, options, text_of, tool_of

from onearm import spec
from onearm.errors import Differs
from onearm.imports.command import import_command
from onearm.imports.found import Lost, Service, notes_of

WHOLE = {  # these are carried as they are; of all others the command says what is missing
    "ipvsadm-forwarding",
    "ipvsadm-ipv6",
    "ipvsadm-many",
    "ipvsadm-reference",
    "keepalived-dns",
    "keepalived-forwarding",
    "keepalived-https",
    "keepalived-ipv6",
    "ldirectord-ipv6",
    "keepalived-ping",
    "keepalived-sctp",
    "keepalived-sorry",
    "keepalived-tcp",
    "keepalived-templates",
    "keepalived-web",
    "ldirectord-forwarding",
    "ldirectord-https",
    "ldirectord-web",
}
pytestmark = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def imported(case, capsys):
    """Run the command; give the spec's text and the sentence."""
    said = ""
    try:
        code = import_command(tool_of(case), case / FILES[tool_of(case)], options(case))
    except Differs as differs:
        code, said = 5, str(differs)
    assert code == (0 if case.name in WHOLE else 5), said
    return capsys.readouterr().out, said


def test_it_becomes_the_spec_beside_it(case, capsys):
    text, said = imported(case, capsys)
    assert text == (case / "spec.yaml").read_text()
    assert (" not carried: " in said) == (case.name not in WHOLE)


def test_the_spec_is_one_and_has_every_service_that_was_kept(case, capsys):
    text, _ = imported(case, capsys)
    kept = [one for one in found_in(case).services if isinstance(one, Service)]
    loaded = spec.parse(text, "spec.yaml")
    assert [(s.protocol, s.vip, s.port) for s in loaded.services] == [
        (s.protocol, s.vip, s.port) for s in kept
    ]
    for service, found in zip(loaded.services, kept, strict=True):
        version = service.vip.version
        where = {host.name: host.own(version) for host in loaded.real_servers}
        assert [(where[m.host], m.weight) for m in service.members] == [
            (server.address, server.weight) for server in found.servers
        ]
        ways = [(service.way(m.host), m.port) for m in service.members]
        assert ways == [(server.way, server.port) for server in found.servers]
        sorry = service.policy.sorry
        assert (sorry and (where[sorry], service.way(sorry))) == (
            found.sorry and (found.sorry, found.sorry_way)
        )
        assert bool(service.check) == bool(found.check)


def test_every_note_and_every_line_of_a_lost_service_is_written(case, capsys):
    text, _ = imported(case, capsys)
    said, found = comments(text), found_in(case)
    for note in notes_of(found):
        assert re.sub(r"\s+", " ", str(note)) in said
    for lost in (one for one in found.services if isinstance(one, Lost)):
        assert lost.body
        assert all(line in text for line in lost.body)


def test_no_secret_of_the_file_stands_in_the_spec(case, capsys):
    text, said = imported(case, capsys)
    secrets = re.findall(r'(?:passwd|secret|password)[= ]+"?([^"\n]+)', text_of(case))
    assert all(secret not in text and secret not in said for secret in secrets)
