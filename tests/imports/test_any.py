"""Whatever a file holds: a spec that loads or a sentence of ours, in bounds, and nothing is run."""

import os
import string
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from imported import CASES, FILES, TABLES, text_of, told, tool_of

from onearm import cli, spec
from onearm.errors import UsageError
from onearm.imports import files
from onearm.imports.command import PARSERS as TOOLS
from onearm.imports.command import Options, Source, director_of, import_command
from onearm.imports.found import Service
from onearm.imports.names import hosts, named
from onearm.imports.settle import hosts_of, settle
from onearm.imports.write import Director, scalar, text

OWN = "lb-1=203.0.113.3,2001:db8:203::3"
DIRECTOR = Director("lb-1", director_of(OWN).addresses)
METHODS = {"DR", "NAT", "TUN", "gate", "masq", "ipip"}
WORDS = sorted(
    {row.word for rows in TABLES.values() for row in rows} | {"group", "fwmark"} | METHODS
)
VALUES = ["203.0.113.4", "203.0.113.2", "80", "0", "1", "70000", "yes", "TCP", "[2001:db8::4]:80"]
VALUES += ["203.0.113.2:80", "203.0.113.4->203.0.113.9:80 gate", "$A", "${A}", "@x", '"a b"', "'"]
PIECE = st.sampled_from(
    [*WORDS, *VALUES, "{", "}", "\n", "\n    ", " = ", "#", "\\", "~SEQ(N,1,3) "]
)
MADE = st.lists(PIECE, max_size=60).map(" ".join)
CUT = st.sampled_from([text_of(case) for case in CASES]).flatmap(
    lambda whole: st.tuples(st.integers(0, len(whole)), st.integers(0, 40), PIECE).map(
        lambda cut: whole[: cut[0]] + cut[2] + whole[cut[0] + cut[1] :]
    )
)
RAW = st.binary(max_size=300).map(lambda data: data.decode(errors="replace"))
ANY = st.one_of(st.text(max_size=300), MADE, CUT, RAW)


def spec_of(tool, content, folder=Path("/nowhere")):
    """Import a text; give the spec's text and what was found, or None with a sentence of ours."""
    try:
        found = settle(
            TOOLS[tool](Source(folder / FILES[tool], content, "lb-1")), DIRECTOR.addresses
        )
    except UsageError:
        return None, None
    known = named(hosts_of(found.services), {}, DIRECTOR.name)
    return text(found, "file", DIRECTOR, known), found


@pytest.mark.parametrize("tool", TOOLS)
@settings(deadline=None, max_examples=150)
@given(content=ANY)
@example(content="$A=$A$A\n$A")
@example(content="{" * 40)
@example(content="virtual_server 203.0.113.2 80 {" * 20)
def test_any_text_becomes_a_spec_that_loads_or_a_sentence(tool, content):
    made, found = spec_of(tool, content)
    if made is None or not any(isinstance(one, Service) for one in found.services):
        return
    loaded = spec.parse(made, "made.yaml")
    kept = [one for one in found.services if isinstance(one, Service)]
    assert [(s.vip, s.port, s.protocol) for s in loaded.services] == [
        (one.vip, one.port, one.protocol) for one in kept
    ]


@given(value=st.one_of(st.text(), st.binary().map(lambda data: data.decode("latin-1"))))
@example(value="on")
@example(value="1.5")
@example(value="a\u2028b\U0001f600")
def test_text_is_written_so_that_it_reads_back(value):
    import yaml

    value = value.encode("utf-8", "replace").decode()
    assert yaml.safe_load(f"key: {scalar(value)}\n") == {"key": value}


HOSTILE = {
    "a definition of itself": ("$A=$A x", "$A"),
    "definitions that double": [f"$A{n}=${{A{n + 1}}}${{A{n + 1}}}" for n in range(40)] + ["${A0}"],
    "lines that double": [
        *(f"$B{n}= \\\n$B{n + 1} \\\n$B{n + 1}\n" for n in range(40)),
        "$B0",
    ],
    "sequences in sequences": ["~SEQ(A,1,9999) " * 5 + "x"],
    "a sequence of billions": ["~SEQ(A,1,1000000000) x"],
    "lists in lists": ["~LST(A,1,2) " * 300 + "x"],
    "blocks in blocks": ["a {"] * 1000,
    "a line without an end": ["a" * 100_000],
    "a huge definition": ["$A= \\", *["x" * 4000 + " \\"] * 500, "", "$A " * 1000],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_would_grow_for_ever_is_refused(name):
    lines = HOSTILE[name]
    with told("write it out" if "blocks" not in name and "billions" not in name else "line"):
        source = Source(Path("/nowhere/keepalived.conf"), "\n".join(lines), "lb-1")
        TOOLS["keepalived"](source)


def test_a_group_of_many_addresses_times_many_servers_is_cut_short():
    group = "virtual_server_group G {\n10.0.0.0/20 80\n}\n"
    servers = "".join(
        f"real_server 10.9.{n // 250}.{n % 250 + 1} 80 {{ weight 1 }}\n" for n in range(2000)
    )
    made, found = spec_of(
        "keepalived", f"{group}virtual_server group G {{\nlb_kind DR\nprotocol TCP\n{servers}}}\n"
    )
    assert "its group has too many addresses" in made
    assert 1 < len(found.services) < 100


def test_one_service_with_many_destinations_takes_its_time_once():
    rows = [
        f"-a -t 203.0.113.2:80 -r 10.{n >> 16}.{n >> 8 & 255}.{n & 255}:80 -g -w 1"
        for n in range(1, 20000)
    ]
    made, found = spec_of("ipvsadm", "\n".join(["-A -t 203.0.113.2:80 -s rr", *rows]))
    assert len(found.services[0].servers) == len(rows)
    assert len(spec.parse(made, "made.yaml").real_servers) == len(rows)


# --- files


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def run(*words):
    return cli.run(["import", *map(str, words)])


def test_only_files_beside_the_file_are_included(folder):
    outside = folder.parent / "outside.conf"
    outside.write_text("virtual_server 203.0.113.9 80 {\n}\n")
    (folder / "link.conf").symlink_to(outside)
    beside = files.Beside(folder)
    assert beside.include("../outside.conf", str(folder)) == files.ABROAD
    assert beside.include(str(outside), str(folder)) == files.ABROAD
    assert beside.include("link.conf", str(folder)) == files.ABROAD
    assert beside.include("*.conf", str(folder)) == files.ABROAD
    assert beside.include("nothing*", str(folder)) == files.NOTHING
    (folder / "a.conf").write_text("x")
    assert [file.name for file in beside.include("{a,b}.conf", str(folder))] == ["a.conf"]


def test_a_fifo_or_a_device_is_no_file(folder):
    os.mkfifo(folder / "pipe.conf")
    assert files.Beside(folder).include("pipe.conf", str(folder)) == files.UNREADABLE
    with told("it is no plain file"):
        files.read(folder / "pipe.conf")
    with told("it is no plain file"):
        files.read(Path("/dev/zero"))
    with told("cannot read"):
        files.read(folder)


def test_includes_that_go_in_a_circle_end(folder):
    main = folder / "keepalived.conf"
    main.write_text("include keepalived.conf\n")
    with told("write it out"):
        import_command("keepalived", main, Options())


def test_too_much_is_refused(folder):
    big = folder / "big"
    big.write_bytes(b"#" * (files.LARGEST + 1))
    with told("4 MiB"):
        files.read(big)
    for number in range(files.MOST_FILES + 2):
        (folder / f"{number}.conf").write_text("")
    assert files.Beside(folder).include("*.conf", str(folder)) == files.UNREADABLE


@pytest.mark.parametrize(
    ("pattern", "made"),
    [
        ("a", ["a"]),
        ("{a,b}c", ["ac", "bc"]),
        ("{a,{b,c}d}e", ["ae", "bde", "cde"]),
        ("{foo/{,cat,dog},bar}", ["foo/", "foo/cat", "foo/dog", "bar"]),
        ("{a", ["{a"]),
        ("a}", ["a}"]),
    ],
)
def test_braces_are_written_out(pattern, made):
    assert files.braces(pattern) == made


@given(st.text(alphabet="{},ab", max_size=200))
def test_braces_never_grow_out_of_hand(pattern):
    assert len(files.braces(pattern)) <= files.MOST_BRACES + 1


# --- the command


def test_nothing_that_a_file_names_is_run(folder, monkeypatch, capsys):
    script = folder / "touch.sh"
    script.write_text(f"#!/bin/sh\ntouch {folder}/ran\n")
    script.chmod(0o755)
    conf = folder / "keepalived.conf"
    conf.write_text(
        f"virtual_server 203.0.113.2 80 {{\nlb_kind DR\nprotocol TCP\nquorum_up {script}\n"
        f"real_server 203.0.113.4 80 {{\nMISC_CHECK {{\nmisc_path {script}\n}}\n}}\n}}\n"
    )
    assert import_command("keepalived", conf, Options(director="lb-1=203.0.113.3")) == 0
    assert f"argv: [{script}]" in capsys.readouterr().out
    assert not (folder / "ran").exists()


def test_without_a_director_the_spec_says_where_to_write_it(folder, capsys, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "lb 9.example.org")
    rules = folder / "rules"
    rules.write_text("-A -t 203.0.113.2:80 -s rr\n-a -t 203.0.113.2:80 -r 203.0.113.4:80 -g -w 1\n")
    out = folder / "spec.yaml"
    assert run("ipvsadm", rules, "-o", out) == 0
    assert "write the director's own address where FILL-IN stands" in capsys.readouterr().err
    assert "  lb-9.example.org: FILL-IN   #" in out.read_text()
    with told("'FILL-IN' is no address"):
        spec.load(out)
    assert run("ipvsadm", rules, "-o", out) == 2, "a file that is there is not written over"
    assert "File exists; name a new file with -o" in capsys.readouterr().err


def test_a_director_without_an_address_of_a_family_has_a_place_for_it(folder, capsys):
    rules, out = folder / "rules", folder / "spec.yaml"
    rules.write_text(
        "-A -t [2001:db8::2]:80 -s rr\n-a -t [2001:db8::2]:80 -r [2001:db8::4]:80 -g -w 1\n"
    )
    assert run("ipvsadm", rules, "--director", "lb-1=203.0.113.3", "-o", out) == 0
    assert "write the director's own address where FILL-IN stands" in capsys.readouterr().err
    assert "  lb-1: {address: 203.0.113.3, address6: FILL-IN}   #" in out.read_text()
    assert run("ipvsadm", rules, "--director", OWN, "-o", folder / "whole.yaml") == 0
    assert not capsys.readouterr().err
    assert spec.load(folder / "whole.yaml")


@pytest.mark.parametrize(
    "wrong",
    ["lb-1", "lb-1=", "=203.0.113.3", "-x=203.0.113.3", "a=1.2.3", "a=203.0.113.3,203.0.113.9"],
)
def test_a_director_that_cannot_be_is_refused(wrong):
    with told("--director"):
        director_of(wrong)


def test_a_file_without_services_is_a_mistake(folder, capsys):
    empty = folder / "empty"
    empty.write_text("global_defs {\n}\n")
    for tool in TOOLS:
        assert run(tool, empty) == 2
        assert f"{tool} has no virtual service there" in capsys.readouterr().err


def test_the_sentence_counts_what_is_missing(capsys):
    case = next(case for case in CASES if case.name == "keepalived-nat")
    assert run(tool_of(case), case / FILES["keepalived"], "--director", "lb-1=203.0.113.3") == 5
    said = capsys.readouterr().err
    assert "3 of 10 services are missing" in said
    assert "a spec's tunnels have no checksums" in said


# --- names


def test_names_are_short_where_they_can_be_and_always_different():
    addresses = [
        director_of(f"x={a}").addresses[0] for a in ("203.0.113.4", "198.51.100.4", "203.0.113.5")
    ]
    known = hosts("203.0.113.5 web-5\n::1 localhost\n203.0.113.5 other\n")
    assert list(named(addresses, known, "lb").values()) == [
        "server-198-51-100-4",
        "server-203-0-113-4",
        "web-5",
    ]
    assert list(named(addresses[2:], {}, "server-5").values()) == ["server-203-0-113-5"]
    same = {addresses[0]: "web", addresses[2]: "web"}
    assert len(set(named(addresses, same, "lb").values())) == 3


@given(
    st.lists(st.ip_addresses(v=4, network="10.0.0.0/29") | st.ip_addresses(v=4), unique=True),
    st.dictionaries(
        st.ip_addresses(v=4), st.sampled_from(["a", "server-1", "server-2"]), max_size=9
    ),
)
def test_no_two_servers_have_one_name(addresses, known):
    names = named(addresses, known, "server-2")
    assert len({*names.values(), "server-2"}) == len(addresses) + 1
    assert set("".join(names.values())) <= {*string.ascii_lowercase, *string.digits, "-"}
