"""docs/reference/ipvs.md says of every part of the kernel's interface what is true of it."""

import ast
import json
import re
from pathlib import Path

import pytest

from onearm.kernel import ipvs_daemons, ipvs_messages
from pages import ROOT

PAGE = ROOT / "docs/reference/ipvs.md"
ROW = re.compile(r"^\| `(IP\w+)` \| (.*) \| (.*) \| (.*) \| (.*) \|$", re.MULTILINE)
WORD = re.compile(r"`([^`]+)`")
NOT_YET = re.compile(r"not yet \(`(\w+)`\)")
# include/uapi/linux/ip_vs.h of Linux 6.12, in its order: commands from 1, attributes from 1.
HEADER = {
    "IPVS_CMD_": "NEW_SERVICE SET_SERVICE DEL_SERVICE GET_SERVICE NEW_DEST SET_DEST DEL_DEST"
    " GET_DEST NEW_DAEMON DEL_DAEMON GET_DAEMON SET_CONFIG GET_CONFIG SET_INFO GET_INFO ZERO FLUSH",
    "IPVS_CMD_ATTR_": "SERVICE DEST DAEMON TIMEOUT_TCP TIMEOUT_TCP_FIN TIMEOUT_UDP",
    "IPVS_SVC_ATTR_": "AF PROTOCOL ADDR PORT FWMARK SCHED_NAME FLAGS TIMEOUT NETMASK STATS PE_NAME"
    " STATS64",
    "IPVS_DEST_ATTR_": "ADDR PORT FWD_METHOD WEIGHT U_THRESH L_THRESH ACTIVE_CONNS INACT_CONNS"
    " PERSIST_CONNS STATS ADDR_FAMILY STATS64 TUN_TYPE TUN_PORT TUN_FLAGS",
    "IPVS_STATS_ATTR_": "CONNS INPKTS OUTPKTS INBYTES OUTBYTES CPS INPPS OUTPPS INBPS OUTBPS PAD",
    "IPVS_DAEMON_ATTR_": "STATE MCAST_IFN SYNC_ID SYNC_MAXLEN MCAST_GROUP MCAST_GROUP6 MCAST_PORT"
    " MCAST_TTL",
    "IPVS_INFO_ATTR_": "VERSION CONN_TAB_SIZE",
}
NUMBERS = {
    f"{prefix}{name}": number
    for prefix, names in HEADER.items()
    for number, name in enumerate(names.split(), 1)
}
FLAGS = {"PERSISTENT": 1, "HASHED": 2, "ONEPACKET": 4, "SCHED1": 8, "SCHED2": 16, "SCHED3": 32}
NUMBERS |= {f"IP_VS_SVC_F_{name}": bit for name, bit in FLAGS.items()}
PARTS = re.compile(r"(NEW|SET|DEL|GET)_[A-Z]+|ZERO|(CMD|SVC|DEST|DAEMON|INFO)_\w+")
CODEC = {
    name: value
    for module in (ipvs_messages, ipvs_daemons)
    for name, value in vars(module).items()
    if PARTS.fullmatch(name) and isinstance(value, int)
}
UAPI = Path("/usr/include/linux/ip_vs.h")
ALIASES = {"IP_VS_SVC_F_SCHED_SH_FALLBACK", "IP_VS_SVC_F_SCHED_SH_PORT"}  # of SCHED1 and SCHED2
ROWS = ROW.findall(PAGE.read_text())


def properties(schema):
    """Give every key that a spec may have anywhere."""
    if isinstance(schema, list):
        return set().union(*map(properties, schema))
    if not isinstance(schema, dict):
        return set()
    own = schema.get("properties", {})
    return set(own).union(*map(properties, schema.values())) if isinstance(own, dict) else set()


KEYS = properties(json.loads((ROOT / "docs/reference/spec.schema.json").read_text()))


def shown():
    """Give every field of `status --json` by its last name."""
    section = (ROOT / "docs/reference/json.md").read_text().split("\n## status\n")[1]
    paths = re.findall(r"^\| `([^`]+)` \|", section.split("\n## ")[0], re.MULTILINE)
    return {path.rpartition(".")[2].removesuffix("[]") for path in paths}


def run_in_a_kernel():
    """Name the functions that run where a real ip_vs is."""
    files = [*(ROOT / "tests/kernel").glob("inside_*.py"), *(ROOT / "tests/lab").glob("test_*.py")]
    trees = [ast.parse(path.read_text()) for path in files]
    return {node.name for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.skipif(not UAPI.exists(), reason="there is no header here: install linux-libc-dev")
def test_the_header_here_has_nothing_more():
    """The page is of one version of Linux; a later header on this machine shows what came since."""
    text = UAPI.read_text(encoding="ascii")
    named = set(re.findall(r"^\s+(IPVS_\w+)\b[^;]*?[,=]", text, re.MULTILINE))
    named |= set(re.findall(r"^#define (IP_VS_SVC_F_\w+?)\s", text, re.MULTILINE))
    named = {name for name in named if not name.endswith("_UNSPEC") and name not in ALIASES}
    assert named - set(NUMBERS) == set()
    assert "IPVS_SVC_ATTR_AF" in named


def test_every_part_of_the_interface_has_its_row():
    assert [row[0] for row in ROWS if ROWS.count(row) > 1] == []
    assert {row[0] for row in ROWS} == set(NUMBERS)
    assert len(ROWS) == len(NUMBERS)


def test_the_codec_has_each_by_its_number_and_nothing_else():
    named = {row[0]: WORD.findall(row[1])[0] for row in ROWS if not row[1].startswith("- ")}
    plain = {kernel: word for kernel, word in named.items() if word in CODEC}
    assert {kernel: CODEC[word] for kernel, word in plain.items()} == {
        kernel: NUMBERS[kernel] for kernel in plain
    }
    assert set(plain.values()) == set(CODEC)
    flags = {**ipvs_messages._bit_names(""), "STATS_KINDS": None}
    flags |= {name: getattr(ipvs_messages, name) for name in ("PERSISTENT", "HASHED", "ONE_PACKET")}
    for kernel, word in named.items():
        assert word in CODEC or flags[word] in (None, NUMBERS[kernel])
    statistics = [
        number for kernel, number in NUMBERS.items() if named.get(kernel) == "STATS_KINDS"
    ]
    assert statistics == list(ipvs_messages.STATS_KINDS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_what_a_row_says_is_true(row):
    _, codec, spec, status, tested = row
    for cell in row:
        assert re.match(r"- `?\w|not yet \(|`", cell) or cell.startswith("IP"), cell
    missing = NOT_YET.findall(spec)
    assert not set(missing) & KEYS, "it is a key of the spec by now: say so in the row"
    if spec.startswith("`"):
        assert set(WORD.findall(spec)) <= KEYS
    if status.startswith("`"):
        assert set(WORD.findall(status)) <= shown()
    if tested.startswith("`"):
        assert set(WORD.findall(tested)) <= run_in_a_kernel()
    else:
        assert codec.startswith("- ") or spec.startswith("- ")
