"""Values under /proc/sys, read and written by their slashed names."""

from __future__ import annotations

import errno
import re
from pathlib import Path
from typing import Optional

from onearm import errors
from onearm.kernel.faults import translate

ROOT = "/proc/sys"
_PART = re.compile(r"(?!\.\.?$)[^/\0\s]+")


def _path(name: str, root: str) -> Path:
    """Return where `name` lives; a name that could leave `root` is an error of the caller."""
    if not name or not all(_PART.fullmatch(part) for part in name.split("/")):
        raise errors.Denied(f"sysctl {name!r}: give a name such as net/ipv4/vs/conntrack")
    return Path(root, name)


def read(name: str, root: str = ROOT) -> Optional[str]:
    """Return the value without surrounding blanks; None when this kernel has no such value."""
    try:
        return _path(name, root).read_text(encoding="utf-8", errors="replace").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise translate(error, f"reading sysctl {name}") from error


def write(name: str, value: str, root: str = ROOT) -> None:
    """Set the value. Missing: this kernel has no such value; Denied: no right, or a bad value."""
    path = _path(name, root)
    try:
        # "r+" never creates: a misspelt name must not leave a file behind
        with path.open("r+", encoding="utf-8") as file:
            file.write(value + "\n")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise errors.Missing(
            f"sysctl {name} = {value}: this kernel has no such value; load the module it belongs to"
        ) from error
    except OSError as error:
        raise translate(error, f"sysctl {name} = {value}") from error


def read_conf(parameter: str, root: str = ROOT, family: str = "ipv4") -> dict[str, str]:
    """Return {link: value} of net/FAMILY/conf/*/PARAMETER, `all` and `default` included.

    The kernel acts on the greater of `all` and the link for arp_ignore, arp_announce and rp_filter
    (include/linux/inetdevice.h, IN_DEV_MAXCONF).
    """
    base = Path(root, "net", family, "conf")
    values: dict[str, str] = {}
    try:
        links = sorted(entry.name for entry in base.iterdir())
    except OSError as error:
        if error.errno == errno.ENOENT:
            return {}
        raise translate(error, f"reading sysctls net/{family}/conf") from error
    for link in links:
        value = read(f"net/{family}/conf/{link}/{parameter}", root)
        if value is not None:  # the link may have gone meanwhile
            values[link] = value
    return values
