"""The tools that are installed know no keyword of which the import says nothing."""

import keywords
import pytest
from imported import TABLES

from onearm.imports.ipvsadm_table import ALIASES

pytestmark = pytest.mark.lab
NEWER = {"sni_name", "tls_compliant", "dynamic"}  # of keepalived 2.4, which is not installed here
REFUSED = {"connecttimeout", "timeout"}  # ldirectord only says that they are called otherwise now
# How ipvsadm prints a table.
PRINTED = {"-c", "-n", "--timeout", "--daemon", "--stats", "--rate", "--exact", "--thresholds"}
PRINTED |= {"--tun-info", "--persistent-conn", "--nosort", "--sort"}


def rows(tool, block):
    return {row.word for row in TABLES[tool] if block in row.blocks.split()}


@pytest.mark.parametrize("block", keywords.WITHIN)
def test_every_keyword_of_the_installed_keepalived_has_a_row(tmp_path, block):
    known = keywords.of_keepalived(tmp_path, block)
    assert known - rows("keepalived", block) == set()
    assert rows("keepalived", block) - known <= NEWER, "so each of them was found"


@pytest.mark.parametrize("block", ["global", "virtual"])
def test_every_directive_of_the_installed_ldirectord_has_a_row(block):
    known = {word for where, word in keywords.of_ldirectord() if where == block} - REFUSED
    known -= rows("ldirectord", "file")
    assert known == rows("ldirectord", block)


def test_every_option_of_the_installed_ipvsadm_has_a_row():
    known = keywords.of_ipvsadm() - PRINTED - {"-b"}
    assert known <= rows("ipvsadm", "-A") | rows("ipvsadm", "-a")
    assert rows("ipvsadm", "-a") - {"-t", "-u", "--sctp-service", "-f"} <= known
    assert set(ALIASES.values()) - {"-A", "-a", "-t", "-u", "-f", "-b"} <= known
