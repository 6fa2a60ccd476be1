"""What brings this host's links up when it boots, read from processes and files alone."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator
from pathlib import Path

from onearm.facts import LinkFact

NETIF = "/run/systemd/netif/links"
NM_DEVICES = "/run/NetworkManager/devices"
IFSTATE = "/run/network/ifstate"
INTERFACES = "/etc/network/interfaces"
OURS = "/etc/network/interfaces.d/onearm-x"  # any file of ours there
SYSTEMD = "/run/systemd/system"
FIRST_PIDS = f"pid:[{0xEFFFFFFC}]"  # of the machine itself, PROC_PID_INIT_INO in linux/proc_ns.h


def manager(links: Iterable[LinkFact], root: str = "") -> str:
    """Name it by what rules the host's real links now; empty in a namespace that nobody boots.

    A process of another network namespace rules other links, as in a lab or beside a container.
    """
    real = [link for link in links if not link.loopback and link.kind != "dummy"]
    if network_files(real, root):
        return "networkd"
    if any(_managed(link, root) for link in real) and _runs("NetworkManager", root):
        return "networkmanager"
    if {link.name for link in real} & _up_by_ifupdown(root) and _reads_folder(root):
        return "ifupdown"
    if not _same_namespace("1", root):
        return ""
    if _comm("1", root) == "systemd" and Path(root + SYSTEMD).is_dir():
        return "unit"
    return "unknown" if _namespace("self", root, "pid") == FIRST_PIDS else ""


def network_files(links: Iterable[LinkFact], root: str = "") -> dict[str, str]:
    """Name the file by which systemd-networkd configures each link, while it runs here."""
    found = {}
    for link in links:
        if not link.loopback and link.kind != "dummy":
            state = _values(f"{root}{NETIF}/{link.index}")
            if "NETWORK_FILE" in state and state.get("ADMIN_STATE") != "unmanaged":
                found[link.name] = state["NETWORK_FILE"]
    # its folder outlives it: only what runs reads files again
    return found if found and _runs("systemd-network", root) else {}


def _managed(link: LinkFact, root: str) -> bool:
    return _values(f"{root}{NM_DEVICES}/{link.index}").get("managed") == "true"


def _up_by_ifupdown(root: str) -> set[str]:
    return {line.split("=")[0].strip() for line in _lines(root + IFSTATE)}


def _reads_folder(root: str) -> bool:
    """Say whether the interfaces file takes in the folder that ours go into."""
    patterns = [words[1] for words in map(str.split, _lines(root + INTERFACES)) if _source(words)]
    return any(fnmatch.fnmatchcase(OURS, pattern) for pattern in patterns)


def _source(words: list[str]) -> bool:
    return words[:1] == ["source"] and len(words) > 1


def _runs(name: str, root: str) -> bool:
    """Say whether a process of that name, as the kernel has it, runs in our network namespace."""
    return any(_same_namespace(pid, root) for pid in _processes(root) if _comm(pid, root) == name)


def _processes(root: str) -> Iterator[str]:
    return (path.name for path in Path(f"{root}/proc").iterdir() if path.name.isdigit())


def _comm(pid: str, root: str) -> str:
    return next(iter(_lines(f"{root}/proc/{pid}/comm")), "")


def _same_namespace(pid: str, root: str) -> bool:
    return _namespace(pid, root) == _namespace("self", root) != ""


def _namespace(pid: str, root: str, kind: str = "net") -> str:
    try:
        return str(Path(f"{root}/proc/{pid}/ns/{kind}").readlink())
    except OSError:  # it ended meanwhile, or nobody may look at it
        return ""


def _values(path: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in _lines(path))
    return {name.strip(): value.strip() for name, _, value in pairs}


def _lines(path: str) -> list[str]:
    """Read a file's lines; none when it is not there, for it may end with its process."""
    try:
        return Path(path).read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
