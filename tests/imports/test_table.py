"""Every keyword has a row, every row does what it says, and no line vanishes without a word."""

import re
import shlex

import pytest
from imported import (
    CASES,
    ROWS,
    TABLES,
    found_in,
    of_tree,
    served,
    text_of,
    tool_of,
    tree_of,
    walk,
    without,
)

from onearm.imports.found import Lost, notes_of
from onearm.imports.ipvsadm_table import ALIASES
from onearm.spec_load import bodies, checks, services

CHECK = """connect_ip connect_port bindto bind_port bind_if connect_timeout fwmark retry
delay_before_retry warmup delay_loop alpha log_all_failures"""
GET = f"{CHECK} nb_get_retry virtualhost http_protocol enable_sni sni_name fast_recovery"
# From the calls of install_keyword in keepalived/check/*.c of versions 2.2.7 (Debian 12) and 2.4.3,
# and what keepalived.conf(5) names beyond them.
KEEPALIVED = {
    "file": "virtual_server virtual_server_group",
    "global_defs": "lvs_timeouts",  # of its keywords the one about the table
    "virtual_server": """ip_family retry delay_before_retry warmup connect_timeout delay_loop
        inhibit_on_failure lb_algo lvs_sched hashed ops flag-1 flag-2 flag-3 sh-port sh-fallback
        mh-port mh-fallback lb_kind lvs_method persistence_engine persistence_timeout
        persistence_granularity protocol ha_suspend smtp_alert virtualhost snmp_name alpha omega
        quorum_up quorum_down quorum hysteresis weight sorry_server sorry_server_inhibit
        sorry_server_lvs_method real_server""",
    "real_server": """weight lvs_method uthreshold lthreshold inhibit_on_failure notify_up
        notify_down alpha retry delay_before_retry warmup connect_timeout delay_loop smtp_alert
        virtualhost snmp_name HTTP_GET SSL_GET TCP_CHECK SMTP_CHECK DNS_CHECK MISC_CHECK BFD_CHECK
        UDP_CHECK PING_CHECK FILE_CHECK""",
    "HTTP_GET": f"{GET} url",
    "SSL_GET": f"{GET} url tls_compliant",
    "url": """path digest status_code virtualhost regex regex_no_match regex_options
        regex_min_offset regex_max_offset regex_stack tls_compliant""",
    "TCP_CHECK": CHECK,
    "SMTP_CHECK": f"{CHECK} helo_name host",
    "host": """connect_ip connect_port bindto bind_port bind_if fwmark alpha delay_before_retry
        delay_loop warmup connect_timeout retry log_all_failures""",
    "DNS_CHECK": f"{CHECK} type name",
    "MISC_CHECK": """retry delay_before_retry warmup delay_loop alpha log_all_failures misc_path
        misc_timeout misc_dynamic user""",
    "UDP_CHECK": f"{CHECK} payload require_reply min_reply_length max_reply_length",
    "PING_CHECK": CHECK,
    "BFD_CHECK": "name alpha",
    "FILE_CHECK": "track_file dynamic weight",
    "SSL": "password ca certificate key",
}
BOTH = """checktimeout negotiatetimeout checkcount failurecount fallback fallback6 fallbackcommand
emailalert emailalertfreq emailalertstatus smtp quiescent cleanstop checkinterval"""
# From read_config of ldirectord 4.12.0 and its manual page.
LDIRECTORD = {
    "file": "virtual virtual6",
    "global": f"""{BOTH} autoreload callback logfile emailalertfrom execute supervised fork
        readdquiescent maintenancedir""",
    "virtual": f"""{BOTH} real real6 request receive checktype checkcommand checkport login passwd
        database secret load scheduler persistent schedflags netmask protocol ops service httpmethod
        virtualhost monitorfile servicename comment""",
}
# From ipvsadm(8), the options of -A and -a, and --set; the long ones are names of the short ones.
IPVSADM = {
    "file": "--set",
    "-A": "-t -u --sctp-service -f -s -p -M -b -o -6 --pe",
    "-a": """-t -u --sctp-service -f -r -g -i -m -w -x -y --tun-type --tun-port --tun-nocsum
        --tun-csum --tun-remcsum""",
}
KEYWORDS = {"keepalived": KEEPALIVED, "ldirectord": LDIRECTORD, "ipvsadm": IPVSADM}
FLAGS = "sh-port sh-fallback mh-port mh-fallback flag-1 flag-2 flag-3"  # the values of -b

# What a spec can say and the other tool cannot: nothing of it can be carried.
OURS = {"vips", "ports", "drain", "panic", "slow_start", "check", "check.through", "check.rise"}
OURS |= {"check.verify", "check.ca", "check.send", "check.expect", "check.method", "check.answer"}
NOWHERE = {
    "keepalived": OURS - {"check.send", "check.expect"},
    "ldirectord": OURS - {"check.method", "check.answer"} | {"weight", "check.address"},
    "ipvsadm": OURS | {"on_failure", "quorum", "sorry_server"},
}
NOWHERE["ldirectord"] |= {"quorum", "check.codes", "check.record"}
CHECKED = {f"check.{key}" for key in checks.ALL}
NOWHERE["ipvsadm"] |= CHECKED


def keys_of(tool):
    """Give the spec's keys that some row of a tool leads to."""
    for row in TABLES[tool]:
        for key in row.to.removesuffix("[]").split(", "):
            yield f"check.{key}" if "check." in row.to and "." not in key else key


@pytest.mark.parametrize("tool", TABLES)
def test_every_keyword_has_a_row_and_every_row_is_a_keyword(tool):
    known = {(block, word) for block, words in KEYWORDS[tool].items() for word in words.split()}
    if tool == "ipvsadm":
        known -= {("-A", "-b")}
        known |= {("-A", word) for word in FLAGS.split()}
        assert set(ALIASES.values()) <= {"-A", "-a", "-b"} | {word for _, word in known}
    rows = [(block, row.word) for row in TABLES[tool] for block in row.blocks.split()]
    assert set(rows) == known
    assert len(rows) == len(set(rows))


@pytest.mark.parametrize("tool", TABLES)
def test_what_a_spec_can_say_is_carried_wherever_the_tool_can_say_it(tool):
    """Fails when the spec learns a key, until a row leads to it or it is named as ours alone."""
    can = {*services.SERVICE, *bodies.MEMBER, *CHECKED}
    carried = set(keys_of(tool)) & can
    assert can - carried - NOWHERE[tool] == set()
    assert carried & NOWHERE[tool] == set()


def test_a_row_without_a_key_has_a_reason():
    assert all(row.read or (row.why and not row.to) for _, row in ROWS)


def smaller(case):
    """Give (block, keyword, what is found without it) for every statement of a case."""
    if tool_of(case) == "keepalived":
        tree = tree_of(case)
        for block, one, path in walk(tree):
            yield block, one, of_tree(without(tree, path))
        return
    lines = text_of(case).splitlines()
    for at, line in enumerate(lines):
        for block, word, rest in pieces(case, line):
            text = "\n".join([*lines[:at], rest, *lines[at + 1 :]])
            yield block, word, found_in(case, text)


def pieces(case, line):
    """Give what one line can lose."""
    if tool_of(case) == "ldirectord":
        found = re.match(r"(\s*)([\w-]+)\s*=", line)
        if found and found[2] not in {"virtual", "virtual6"}:
            yield ("virtual" if found[1] else "global"), found[2], ""
        return
    words = [ALIASES.get(word, word) for word in shlex.split(line, comments=True)]
    words = words[1:] if words and "ipvsadm" in words[0] else words
    if words[:1] == ["--set"]:
        yield "file", "--set", ""
    for at, word in enumerate(words[1:], 1):
        if word.startswith("-"):
            ends = at + 1 + (at + 1 < len(words) and not words[at + 1].startswith("-"))
            yield words[0], word, shlex.join([*words[:at], *words[ends:]])


def all_smaller():
    for case in CASES:
        whole = of_tree(tree_of(case)) if tool_of(case) == "keepalived" else found_in(case)
        for block, one, found in smaller(case):
            yield case, block, one, whole, found


@pytest.fixture(scope="module")
def losses():
    return list(all_smaller())


def word_of(one):
    return one if isinstance(one, str) else one.word


def test_every_row_stands_in_a_case(losses):
    assert len(CASES) >= 30
    seen = {(tool_of(case), block, word_of(one)) for case, block, one, _, _ in losses}
    seen |= {("ipvsadm", "-A", word) for word in FLAGS.split()}
    seen |= {("ldirectord", "file", word) for word in ("virtual", "virtual6")}
    rows = {(tool, block, row.word) for tool, row in ROWS for block in row.blocks.split()}
    common = set(CHECK.split()) | set(GET.split())
    missing = {row for row in rows - seen if row[2] not in common and row[1] != "host"}
    assert missing == set()
    words = {(tool, word) for tool, _, word in seen}
    assert {(tool, row.word) for tool, row in ROWS} <= words


def test_what_is_carried_changes_the_spec(losses):
    changed = {
        (tool_of(case), word_of(one))
        for case, _, one, whole, found in losses
        if served(whole) != served(found)
    }
    changed |= {("ipvsadm", word) for word in FLAGS.split()}
    carried = {(tool, row.word) for tool, row in ROWS if row.read and row.blocks != "file"}
    default = {("keepalived", "flag-3"), ("keepalived", "hashed"), ("ipvsadm", "-g")}
    default |= {("ipvsadm", "--tun-nocsum")}
    assert carried - changed - default == set()


def test_nothing_vanishes_without_a_word(losses):
    """Each line changes the spec or a comment, but for those that say what is so anyway."""
    silent = {
        (case.name, one if isinstance(one, str) else one.shown)
        for case, block, one, whole, found in losses
        if said(whole) == said(found) and block not in TOLD_WHOLE
    }
    assert {line for _, line in silent} <= ANYWAY


TOLD_WHOLE = {"virtual_server_group", "vrrp_instance", "global_defs", "notification_email"}
TOLD_WHOLE |= {"virtual_ipaddress"}
ANYWAY = {
    # the tool's own default
    *("weight 1", "lb_algo wlc", "lvs_sched wlc", "retry 1", "inhibit_on_failure off"),
    *("sorry_server_lvs_method DR", "-s", "-g", "-w", "scheduler", "checktype", "service"),
    *("protocol", "--tun-nocsum", "--tun-port", "--tun-type", "connect_port 8081"),
    # something nearer says otherwise
    *("virtualhost www.example.org", "virtualhost app.example.org", "lb_kind NAT"),
    # said once, where several servers have the same
    *("tls_compliant", "user nobody nogroup", "delay_before_retry 3"),
    # of checks, where none is made
    "delay_loop 15",
}


def said(found):
    notes = [(note.what, note.why) for note in notes_of(found)]
    bodies = [one.body for one in found.services if isinstance(one, Lost)]
    return served(found), notes, bodies
