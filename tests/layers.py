"""Who may import whom: one table, particular rows first.

Run, it prints the node side's files; with `tests`, the test files that need nothing but those.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

SRC = Path(__file__).parents[1] / "src" / "onearm"


class Layer(NamedTuple):
    """A row: modules by pattern, whom of ours they may import, and what is theirs alone.

    `node`: runs on the hosts, so standard library only and Python 3.9. `pure`: no outside world.
    `kernel`: may speak to the kernel.
    """

    modules: str
    imports: str
    node: bool = False
    pure: bool = False
    kernel: bool = False


NODE = {"node": True}
PURE = {"pure": True}

LAYERS = (
    Layer("__init__", "", **NODE),
    Layer("lean", "", **NODE, **PURE),
    Layer("again", "", **NODE, **PURE),
    Layer("model", "lean", **NODE, **PURE),
    Layer("mark_words", "model", **NODE, **PURE),
    Layer("errors", "", **NODE, **PURE),
    Layer("addresses", "", **NODE, **PURE),
    Layer("collector", "", **NODE),
    Layer("facts", "again lean model", **NODE, **PURE),
    Layer("entries", "model", **NODE, **PURE),
    Layer("vitals", "model facts entries", **NODE, **PURE),
    Layer("tally", "model entries vitals", **PURE),
    Layer("cloud_facts", "model", **PURE),
    Layer("finding", "", **PURE),
    Layer("cloud_prefixes", "model cloud_facts", **PURE),
    Layer("cloud_rules", "model cloud_facts spec cloud_prefixes", **PURE),
    Layer("cloud_groups", "model cloud_facts spec cloud_prefixes cloud_rules", **PURE),
    Layer("cloud", "model cloud_facts spec cloud_*", **PURE),
    Layer("cloud_check*", "model facts cloud_facts spec finding cloud cloud_*", **PURE),
    Layer("wire", "addresses model facts errors", **NODE),
    Layer("ledger", "again model errors wire", **NODE),
    Layer(
        "kernel.*",
        "addresses lean errors model facts entries vitals mark_words kernel.*",
        **NODE,
        kernel=True,
    ),
    Layer("places.neutron*", "errors model facts cloud_facts spec places.neutron*"),
    Layer("bundle", "errors"),
    Layer("places.child", ""),
    Layer("places.obstacles", "", **PURE),
    Layer("places.conversation", "places.child places.obstacles bundle errors wire model facts"),
    Layer(
        "places.remote*",
        "places.conversation places.look kernel.frames traffic errors wire model facts entries"
        " vitals",
    ),
    Layer("serve", "", **NODE),
    Layer("serve.client", "wire errors", **NODE),
    Layer("alerts", "snapshot", **PURE),
    Layer("serve.answer", "wire alerts snapshot serve.client"),
    Layer("serve.ends", "errors snapshot serve.client serve.answer"),
    Layer("serve.metrics", "__init__ alerts errors snapshot"),
    Layer("serve.*", "wire errors snapshot serve.*"),
    Layer("places.daemons", "errors facts model wire serve.client places.spec_file", **NODE),
    Layer(
        "places.*",
        "again lean kernel.* ledger model facts entries vitals errors wire places.*",
        **NODE,
    ),
    Layer("traffic", "kernel.* wire errors model facts", **NODE),
    Layer(
        "node",
        "collector serve.client traffic places.* kernel.* wire ledger errors model facts vitals",
        **NODE,
    ),
    Layer("alone", "__init__ node", **NODE),
    Layer("pattern*", "pattern_parse", **PURE),
    Layer("spec", "lean model errors spec_load.*", **PURE),
    Layer("spec_load.*", "addresses model errors pattern spec spec_load.*"),
    Layer("imports.command", "errors spec imports.*"),
    Layer("imports.files", "errors imports.keepalived_text"),
    Layer("imports*", "errors model pattern spec spec_load.* imports.*", **PURE),
    Layer("checks.icmp", "pattern model spec checks.*", kernel=True),
    Layer("checks.idle", "", kernel=True),
    Layer("checks.*", "pattern model spec checks.*"),
    Layer("silence", "model facts spec", **PURE),
    Layer("ways", "model facts spec", **PURE),
    Layer("groups", "model facts spec", **PURE),
    Layer("drain", "model facts spec ways groups", **PURE),
    Layer("snapshot", "model facts", **PURE),
    Layer("health", "snapshot", **PURE),
    Layer("rotation", "lean model facts spec ways drain health snapshot", **PURE),
    Layer(
        "desire",
        "again lean model facts cloud_facts cloud spec ways groups silence drain rotation boot"
        " boot.files",
        **PURE,
    ),
    Layer("foresight", "model facts spec ways desire diff health rotation snapshot", **PURE),
    Layer("preflight_ways", "model facts finding spec", **PURE),
    Layer(
        "preflight",
        "model facts cloud_facts cloud_checks finding spec ways silence desire preflight_ways",
        **PURE,
    ),
    Layer("commands*", "model cloud_facts commands_cloud mark_words", **PURE),
    Layer("boot.command", "desire errors facts model spec ways boot.*"),
    Layer("boot*", "commands model boot.*", **PURE),
    Layer("diff", "model errors", **PURE),
    Layer("each", "errors"),
    Layer("reconcile", "model errors each diff"),
    Layer("ssh_sharing", ""),
    Layer("reach", "spec errors figures ssh_sharing"),
    Layer("words*", "model facts words_cloud", **PURE),
    Layer(
        "session",
        "model facts cloud_facts cloud_checks finding spec errors each drain desire preflight diff"
        " reconcile reach foresight ways"
        " places.look places.remote*",
    ),
    Layer("resting", "model facts rotation snapshot spec", **PURE),
    Layer("schedule", "model spec", **PURE),
    Layer("evidence", "model facts spec errors traffic kernel.frames"),
    Layer("flows", "model facts spec evidence kernel.frames traffic"),
    Layer("case", "facts spec resting schedule evidence flows"),
    Layer("verdicts", "", **PURE),
    Layer("verify_ways", "case flows verdicts"),
    Layer("verify_groups", "case flows model schedule verdicts"),
    Layer(
        "verify",
        "model facts spec case desire preflight resting schedule evidence flows verify_ways"
        " verify_groups verdicts",
    ),
    Layer(
        "probe",
        "model facts spec errors each preflight reach resting schedule session evidence traffic"
        " silence ways kernel.frames places.look places.remote*",
    ),
    Layer(
        "proof",
        "spec errors case cloud cloud_check_groups flows schedule session evidence probe verify"
        " verdicts",
    ),
    Layer(
        "report",
        "spec errors wire case planfile silence render resting session evidence probe verify reach"
        " verdicts",
    ),
    Layer(
        "doctor.gather",
        "model facts spec errors finding each preflight cloud_checks reach session silence evidence"
        " probe verify vitals doctor.observations places.look places.remote*",
    ),
    Layer("doctor.show", "finding render verdicts doctor.observations doctor.rank"),
    Layer(
        "doctor.command",
        "model spec errors wire planfile finding render session report operate doctor.*",
    ),
    Layer(
        "doctor*",
        "model facts spec case finding silence desire groups preflight resting snapshot evidence"
        " flows traffic"
        " commands tally verdicts verify vitals ways words doctor.*",
        **PURE,
    ),
    Layer("ladder", "spec evidence flows kernel.frames"),
    Layer(
        "trace",
        "model spec errors wire planfile finding flows ladder render report resting session verify"
        " doctor.*",
    ),
    Layer("lab.*", "errors model lab.*", kernel=True),
    Layer("planfile", "model facts cloud_facts spec errors diff wire words commands finding"),
    Layer("render", "model facts cloud_facts spec diff words commands finding reconcile"),
    Layer(
        "operate",
        "model facts cloud_facts cloud_checks spec errors diff wire words finding reconcile session"
        " planfile progress render proof report verdicts verify",
    ),
    Layer("daemon.command", "errors spec kernel.* places.lock serve.shows daemon.*", kernel=False),
    Layer(
        "daemon.*",
        "model facts spec errors wire checks* desire diff drain health rotation snapshot reconcile"
        " words ways kernel.* places.look places.host places.director daemon.*",
    ),
    Layer("log", ""),
    Layer("figures", "", **PURE),
    Layer("progress", "each figures"),
    Layer("screen", "alerts figures snapshot", **PURE),
    Layer("watching", "alerts figures screen snapshot", **PURE),
    Layer("watch", "errors render serve.ends snapshot watching"),
    Layer(
        "status",
        "each errors planfile render screen serve.answer serve.ends session snapshot spec watch"
        " wire",
    ),
    Layer("connections_show", "entries figures model render tally spec"),
    Layer(
        "connections",
        "connections_show entries errors model planfile places.remote render session spec tally"
        " vitals",
    ),
    Layer("draining", "errors figures render serve.ends session spec"),
    Layer("cli*", "*"),
    Layer("version", "__init__"),
    Layer("__main__", "*"),
)

# A module that no row names is a failure.
KERNEL_ONLY = {"ctypes", "fcntl"}  # and AF_NETLINK, AF_PACKET, /proc/sys: kernel/ and lab/ only
OUTSIDE = {"os", "socket", "subprocess", "shutil", "selectors", "threading", "urllib", "http"}


def fits(module: str, patterns: str) -> bool:
    """Match a module by patterns; `places.*` is the package itself as well."""
    return any(
        fnmatchcase(module, pattern) or fnmatchcase(f"{module}.", pattern)
        for pattern in patterns.split()
    )


def layer(module: str) -> Layer | None:
    """Give the row of a module."""
    return next((row for row in LAYERS if fits(module, row.modules)), None)


def modules() -> dict[str, Path]:
    """Give every module that exists, by its name below onearm (`kernel.ipvs`, `lab`)."""
    found = {}
    for path in sorted(SRC.rglob("*.py")):
        name = ".".join(path.relative_to(SRC).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


def node_side() -> list[Path]:
    """Give the files that run on the hosts."""
    rows = {path: layer(name) for name, path in modules().items()}
    return [path for path, row in rows.items() if row and row.node]


BESIDE = {"__init__", "bundle", "diff"}  # run under any Python that hosts may have, too


def node_tests() -> list[Path]:
    """Give the files of the node side's own tests: those that import nothing else of ours."""
    tests = Path(__file__).parent
    found = [path for folder in (tests, tests / "kernel") for path in folder.glob("test_*.py")]
    return sorted(path for path in found if _of_node_side(path))


def _of_node_side(path: Path) -> bool:
    known = modules()
    names = {name for name in imports_of(ast.parse(path.read_text())) if name.startswith("onearm")}
    mine = {module_of(name, known) for name in names}
    rows = [layer(name) for name in mine - BESIDE]
    return bool(mine - {"__init__"}) and all(row is not None and row.node for row in rows)


def imports_of(tree: ast.AST) -> Iterator[str]:
    """Give the full names of what a file imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_of(name: str, known: dict[str, Path]) -> str:
    """Give the module of ours in which a name stands."""
    rest = name.partition(".")[2]
    return rest if rest in known else rest.rpartition(".")[0] or "__init__"


if __name__ == "__main__":
    print(*(node_tests() if sys.argv[1:] == ["tests"] else node_side()))
