"""The documentation is true as far as can be told without a lab: links, ids, keys, freshness."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from onearm import preflight, proof, spec, verify
from onearm.kernel import arp
from onearm.places import look
from pages import DOCS, KINDS, PAGES, ROOT, blocks, differences, runs, spoken

EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
FINDINGS = ROOT / "docs/reference/findings.md"
LINK = re.compile(r"\]\(([^)\s]+)\)")
names = {"ids": lambda path: str(path.relative_to(ROOT))}


def anchors(page):
    """Give the fragments of a page's headings, as they are made of them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, **names)
def test_every_link_leads_somewhere(page):
    for target in LINK.findall(page.read_text()):
        if target.startswith(("https://", "mailto:")):
            continue
        path, _, fragment = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        if fragment:
            assert fragment in set(anchors(found)), target


def test_the_index_names_every_page():
    index = ROOT / "docs/index.md"
    linked = {(index.parent / target).resolve() for target in LINK.findall(index.read_text())}
    assert {page for page in DOCS if page != index} <= linked


@pytest.mark.parametrize("page", PAGES, **names)
def test_every_block_says_what_it_is(page):
    text = page.read_text()
    assert len(re.findall(r"^```", text, re.MULTILINE)) == 2 * len(list(blocks(page)))
    decision = "decisions" in page.parts
    for block in blocks(page):
        assert block.kind in KINDS or (decision and not block.kind), f"{page}:{block.line}"
        assert block.kind != "console" or spoken(block)


@pytest.mark.parametrize("path", EXAMPLES, **names)
def test_every_example_says_what_it_is_and_loads(path):
    assert spec.load(path).services
    used = "\n".join(page.read_text() for page in PAGES)
    assert path.name in used or "[examples]" in used or "[examples/]" in used


def finding_ids():
    """Read the ids of all findings from the source: constants, and `host.` with its features."""
    home = Path(preflight.__file__)
    files = [*home.parent.glob("preflight*.py"), *home.parent.glob("cloud_check*.py")]
    trees = [ast.parse(path.read_text()) for path in files]
    calls = [n for tree in trees for n in ast.walk(tree) if isinstance(n, ast.Call)]
    made = [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "Finding"]
    plain = {c.args[0].value for c in made if isinstance(c.args[0], ast.Constant)}
    others = [c for c in made if not isinstance(c.args[0], ast.Constant)]
    assert len(others) == 1, "one id is made of the feature's name"
    source = Path(look.__file__).read_text()
    features = set(re.findall(r'reasons\["(\w+)"\]', source))
    assert 'reasons[f"arp_{question.arp}"]' in source
    features |= {f"arp_{policy}" for policy in arp.POLICIES}
    assert 'reasons[f"tunnel_{kind}"]' in source
    features |= {f"tunnel_{kind}" for kind in ("gre", "gue", "ipip")}
    return plain | {f"host.{feature}" for feature in features}


def documented(heading):
    """Read the ids of a table of the page of findings."""
    section = FINDINGS.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    return set(re.findall(r"^\| `([a-z0-9_.]+)` \|", section, re.MULTILINE))


def test_every_finding_is_documented_and_every_documented_one_exists():
    assert documented("Findings") == finding_ids()


def test_every_property_is_documented_wherever_they_are_listed():
    ids = {*verify.OWNER.values(), *(rule[0] for rule in verify.RULES)}
    assert documented("Properties") == {*ids, proof.ID}
    how = (ROOT / "docs/how-to/read-a-verification.md").read_text()
    assert set(re.findall(r"^### ([a-z_.]+)$", how, re.MULTILINE)) == ids
    readme = (ROOT / "README.md").read_text()
    assert set(re.findall(r"^\| `([a-z_.]+)` \|", readme, re.MULTILINE)) == ids


def test_the_page_of_commands_is_fresh():
    done = subprocess.run([sys.executable, ROOT / "scripts/docs", "--check"], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


OTHERS = ("Ubuntu", "Fedora", "CentOS", "RHEL", "Rocky", "AlmaLinux", "Alpine", "SUSE", "Arch")


def test_the_readme_names_the_only_distribution_that_it_ran_on():
    text = (ROOT / "README.md").read_text()
    assert set(re.findall(r"Debian \d+", text)) == {"Debian 12"}
    assert [word for word in OTHERS if re.search(rf"\b{word}\b", text)] == []


def test_the_readme_names_the_commands_that_ci_runs():
    commands = {line for block in runs(ROOT / "README.md") for line in block.text.splitlines()}
    assert {"make demo", "make test"} <= commands
    assert "\nmake test\n" in (ROOT / ".ci/run").read_text()


@pytest.mark.parametrize(
    ("expected", "said", "fault"),
    [
        (["a", "b"], "b\na\n", []),
        (["[1/2] x: a", "took 3.1 s"], "[2/2] x: a\ntook 9.9 s\n", []),
        (["a", "..."], "a\nmore\n", []),
        (["a"], "a\nmore\n", ["not shown: more"]),
        (["a", "b", "..."], "a\nmore\n", ["not printed: b"]),
    ],
)
def test_output_is_compared_loosely_but_compared(expected, said, fault):
    assert differences(expected, said) == fault
