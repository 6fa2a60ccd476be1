"""Which of the two back ends this machine can run, asked of the kernel itself, and why."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
from typing import NamedTuple

from onearm.errors import Missing, UsageError
from onearm.lab import linux

FORCE = "ONEARM_LAB_BACKEND"
NETLINK_GENERIC = 16
GENL_ID_CTRL = 16
CTRL_CMD_GETFAMILY = 3
CTRL_ATTR_FAMILY_NAME = 2
NLM_F_REQUEST = 1
NLMSG_ERROR = 2
GENL_HEADER = struct.Struct("=IHHIIBBH")  # nlmsghdr, genlmsghdr
ATTRIBUTE = struct.Struct("=HH")


class Choice(NamedTuple):
    """A back end and why it is the one."""

    name: str
    why: str


def choose() -> Choice:
    """Choose `native` where the running kernel can do it all, else `uml`; or what is forced."""
    forced = os.environ.get(FORCE, "")
    if forced not in {"", "native", "uml"}:
        raise UsageError(f"{FORCE} is {forced!r}; it can be native or uml")
    lacks = what_native_lacks() if forced != "uml" else ""
    if forced == "native" and lacks:
        raise Missing(f"{FORCE}=native cannot be had: {lacks}; unset it to use a guest kernel")
    if forced:
        return Choice(forced, f"{FORCE} says so")
    return Choice("uml", lacks) if lacks else Choice("native", "the running kernel has ip_vs")


def what_native_lacks() -> str:
    """Say why the running kernel cannot be the lab; empty when it can."""
    if os.geteuid():
        return "only root may make namespaces on the running kernel"
    if not has_ip_vs():
        return f"the running kernel {os.uname().release} has no ip_vs"
    return dummy_fails()


def has_ip_vs() -> bool:
    """Ask generic netlink, which loads the module for root; else load it by its name."""
    if has_family("IPVS"):
        return True
    if shutil.which("modprobe") is None:
        return False
    known = subprocess.run(["modprobe", "-n", "ip_vs"], capture_output=True, check=False)
    if known.returncode:
        return False
    subprocess.run(["modprobe", "ip_vs"], capture_output=True, check=False)
    return has_family("IPVS")


def has_family(name: str) -> bool:
    """Look a generic netlink family up."""
    value = name.encode() + b"\0"
    attribute = ATTRIBUTE.pack(ATTRIBUTE.size + len(value), CTRL_ATTR_FAMILY_NAME) + value
    attribute += bytes(-len(attribute) % 4)
    length = GENL_HEADER.size + len(attribute)
    header = GENL_HEADER.pack(length, GENL_ID_CTRL, NLM_F_REQUEST, 1, 0, CTRL_CMD_GETFAMILY, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_GENERIC) as asking:
        asking.bind((0, 0))
        asking.send(header + attribute)
        return bool(GENL_HEADER.unpack_from(asking.recv(65536))[1] != NLMSG_ERROR)


def dummy_fails() -> str:
    """Try a dummy link, as real servers need one, in a namespace that is thrown away."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, _try_dummy().encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as answer:
        return answer.read().decode()


def _try_dummy() -> str:
    try:
        linux.unshare(linux.CLONE_NEWNET)
        command = ["ip", "link", "add", "probe", "type", "dummy"]
        done = subprocess.run(command, capture_output=True, check=False)
    except OSError as error:
        return f"a network namespace with a dummy link cannot be made ({error})"
    if done.returncode:
        return f"the running kernel {os.uname().release} has no dummy links"
    return ""
