"""An action as what an engineer would have typed: argument lists, quoted when printed; pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from ipaddress import IPv4Network
from typing import Any

from onearm.cloud_facts import CloudFacts
from onearm.commands_cloud import CLOUD_TYPED
from onearm.mark_words import IPTABLES, iptables, written
from onearm.model import (
    IPV6,
    Action,
    AnnouncedVip,
    ArpSilence,
    BootFile,
    BootVip,
    CheckMark,
    Destination,
    GuePort,
    HeldVip,
    Link,
    Mark,
    MarkRule,
    Service,
    SpecFile,
    Sysctl,
    Timeout,
    TunnelLink,
    endpoint,
)

Argv = list[str]
OPTION = {"tcp": "-t", "udp": "-u", "sctp": "--sctp-service"}
IDLE = ("tcp", "tcp_fin", "udp")  # in the order of ipvsadm --set
FORWARDING = {"direct": "-g", "tunnel": "-i", "masq": "-m"}


def commands(
    action: Action, mark: Mark | None = None, cloud: CloudFacts | None = None
) -> list[Argv]:
    """List the well-known commands that do what the action does.

    `mark` is that of the thing: where the action restores what was there before, it says what. An
    action that only changes a mark has none: one that keeps a thing, or releases a shared one.
    `cloud` knows the ids by which Neutron's commands name what they delete.
    """
    if action.after is None and mark is not None and len(mark.names) > 1:
        return []
    kind = type(action.resource)
    if kind in CLOUD_TYPED:
        return CLOUD_TYPED[kind](action, mark, cloud)
    return _TYPED[kind](action, mark)


def shell_line(argv: Argv) -> str:
    """Quote an argument list for a shell."""
    return shlex.join(argv)


def _sysctl_name(slashed: str) -> str:
    """Turn `net/ipv4/conf/eth0.5/x` into sysctl(8)'s form, which swaps dots and slashes."""
    return slashed.translate(str.maketrans("./", "/."))


def _set(name: str, value: str) -> Argv:
    return ["sysctl", "-w", f"{_sysctl_name(name)}={value}"]


def _sysctl(action: Action, mark: Mark | None) -> list[Argv]:
    resource = action.resource
    if not isinstance(resource, Sysctl) or action.before == action.after:
        return []
    if action.after is not None:
        return [_set(resource.name, resource.value)]
    return [_set(resource.name, value) for value in (mark.was or {}).values()] if mark else []


def _timeout(action: Action, mark: Mark | None) -> list[Argv]:
    resource = action.resource
    if not isinstance(resource, Timeout) or action.before == action.after:
        return []
    if action.after is None:
        return [_idle(resource.name, value) for value in (mark.was or {}).values()] if mark else []
    return [_idle(resource.name, str(resource.seconds))]


def _idle(name: str, seconds: str) -> Argv:
    """Set one of the three: 0 leaves the others as they are."""
    return ["ipvsadm", "--set", *(seconds if name == one else "0" for one in IDLE)]


def _link(action: Action, _mark: Mark | None) -> list[Argv]:
    resource = action.resource
    if not isinstance(resource, Link) or action.before == action.after:
        return []
    if action.after is None:
        return [["ip", "link", "del", resource.name]]
    add = [["ip", "link", "add", resource.name, "type", resource.kind]]
    return (add if action.before is None else []) + [["ip", "link", "set", resource.name, "up"]]


def _tunnel_link(action: Action, _mark: Mark | None) -> list[Argv]:
    resource = action.resource
    if not isinstance(resource, TunnelLink) or action.before == action.after:
        return []
    if action.after is None:
        return [["ip", "link", "del", resource.name]]
    verb = "add" if action.before is None else "change"
    made = ["ip", "link", verb, resource.name, "type", resource.kind]
    made += ["local", str(resource.local), "remote", str(resource.remote or "any")]
    loose = [_set(f"net/ipv4/conf/{resource.name}/rp_filter", "2")] if resource.loose else []
    return [made, *loose, ["ip", "link", "set", resource.name, "up"]]


def _gue_port(action: Action, _mark: Mark | None) -> list[Argv]:
    resource = action.resource
    if not isinstance(resource, GuePort) or action.before == action.after:
        return []
    if action.after is None:
        return [["ip", "fou", "del", "port", str(resource.port)]]
    return [["ip", "fou", "add", "port", str(resource.port), resource.kind]]


def _silence(action: Action, mark: Mark | None) -> list[Argv]:
    before, after = action.before, action.after
    silence = action.resource
    if not isinstance(silence, ArpSilence) or (
        before is not None and after is not None and (_spoken(before) == _spoken(after))
    ):
        return []
    if silence.policy == "sysctl":
        return _silence_by_sysctl(silence, mark, built=after is not None)
    rules = _arptables if silence.policy == "arptables" else _nft
    return rules(silence, built=after is not None)


def _spoken(resource: Any) -> tuple[Any, ...]:
    return (resource.deaf, resource.mute, resource.source)


def _silence_by_sysctl(silence: ArpSilence, mark: Mark | None, *, built: bool) -> list[Argv]:
    conf = f"net/ipv4/conf/{silence.link}"
    if built:
        wanted = [("arp_ignore", "1")] * silence.deaf + [("arp_announce", "2")] * silence.mute
    else:
        wanted = list(((mark.was if mark else None) or {}).items())
    return [_set(f"{conf}/{name}", value) for name, value in wanted]


def _arptables(silence: ArpSilence, *, built: bool) -> list[Argv]:
    tool, verb, vip = "arptables-legacy", "-A" if built else "-D", str(silence.vip)
    deaf = [tool, verb, "INPUT", "-i", silence.link, "-d", vip, "-j", "DROP"]
    mute = [tool, verb, "OUTPUT", "-o", silence.link, "-s", vip, "-j", "mangle"]
    mute += ["--mangle-ip-s", str(silence.source)]
    return [deaf] * silence.deaf + [mute] * silence.mute


def _nft(silence: ArpSilence, *, built: bool) -> list[Argv]:
    chains = [name for name, ours in (("input", silence.deaf), ("output", silence.mute)) if ours]
    if built:
        rules = [["nft", f"add rule arp onearm {_nft_rule(silence, c)}"] for c in chains]
        return [["nft", text] for text in _NFT_TABLE] + rules
    # nftables deletes by handle, which only the first of these commands can tell
    table = ["arp", "onearm"]
    look = ["nft", "-a", "list", "table", *table]
    return [look, *(["nft", "delete", "rule", *table, c, "handle", "HANDLE"] for c in chains)]


_NFT_TABLE = (
    "add table arp onearm",
    "add chain arp onearm input { type filter hook input priority 0; policy accept; }",
    "add chain arp onearm output { type filter hook output priority 0; policy accept; }",
)


def _nft_rule(silence: ArpSilence, chain: str) -> str:
    vip, link = silence.vip, silence.link
    remark = f'comment "onearm {vip} {link}"'
    if chain == "input":
        return f'input iifname "{link}" arp daddr ip {vip} drop {remark}'
    renamed = f"arp saddr ip set {silence.source}"
    return f'output oifname "{link}" arp saddr ip {vip} {renamed} {remark}'


def _address(action: Action, _mark: Mark | None) -> list[Argv]:
    resource = action.resource
    if not isinstance(resource, (HeldVip, AnnouncedVip)):
        return []
    built = action.after is not None
    change = ["address", "add" if built else "del", f"{resource.vip}/{resource.prefix_length}"]
    change += ["dev", resource.link]
    if resource.vip.version == IPV6:
        # no wait for duplicates, and never a source that is chosen for the host's own connections
        change = ["-6", *change, *(("nodad", "preferred_lft", "0") if built else ())]
    found = [] if action.before == action.after else [["ip", *change]]
    if built and isinstance(resource, AnnouncedVip):
        found += _announcement(resource)
    return found


def _announcement(vip: AnnouncedVip) -> list[Argv]:
    if vip.vip.version == IPV6:
        return [["ndptool", "-t", "na", "-U", "-i", vip.link, "-T", str(vip.vip), "send"]]
    arping = ["arping", "-c", "5", "-I", vip.link, str(vip.vip)]
    return [[arping[0], "-U", *arping[1:]], [arping[0], "-A", *arping[1:]]]


def _service_word(resource: Service | Destination) -> list[str]:
    if resource.mark:
        return ["-f", str(resource.mark), *(["-6"] if resource.vip.version == IPV6 else [])]
    word = endpoint(resource.vip, resource.port)
    return [OPTION[resource.protocol], word]


def _service(action: Action, _mark: Mark | None) -> list[Argv]:
    resource = action.resource
    if not isinstance(resource, Service) or action.before == action.after:
        return []
    word = _service_word(resource)
    if action.after is None:
        return [["ipvsadm", "-D", *word]]
    edit = ["ipvsadm", "-A" if action.before is None else "-E", *word, "-s", resource.scheduler]
    named = [flag for flag in resource.flags if flag != "ops"]
    edit += ["-b", ",".join(named)] if named else []
    edit += ["-o"] if "ops" in resource.flags else []
    return [edit + _persistence(resource)]


def _persistence(service: Service) -> Argv:
    if not service.persistence_s:
        return []
    mask = service.persistence_mask
    words = ["-p", str(service.persistence_s)]
    if mask is not None:
        four = service.vip.version == 4  # noqa: PLR2004
        words += ["-M", str(IPv4Network((0, mask)).netmask) if four else str(mask)]
    return words + (["--pe", service.engine] if service.engine else [])


def _destination(action: Action, _mark: Mark | None) -> list[Argv]:
    resource = action.resource
    if not isinstance(resource, Destination) or action.before == action.after:
        return []
    port = 0 if resource.mark else resource.server_port
    word = [*_service_word(resource), "-r", endpoint(resource.server, port)]
    if action.after is None:
        return [["ipvsadm", "-d", *word]]
    how = [*_way(resource), "-w", str(resource.weight)]
    if resource.upper:
        how += ["-x", str(resource.upper), "-y", str(resource.lower)]
    return [["ipvsadm", "-a" if action.before is None else "-e", *word, *how]]


def _way(resource: Destination | CheckMark) -> Argv:
    """Write the forwarding method; ipip is what ipvsadm takes for granted of a tunnel."""
    how = [FORWARDING[resource.forwarding]]
    if resource.tunnel not in {"", "ipip"}:
        how += ["--tun-type", resource.tunnel]
    return how + (["--tun-port", str(resource.tunnel_port)] if resource.tunnel_port else [])


def _mark_rule(action: Action, _mark: Mark | None) -> list[Argv]:
    """Write what iptables would be told, on whatever it is built: onearm itself prefers nft."""
    before, after = action.before, action.after
    typed: list[Argv] = []
    for rule, verb in ((after, "-A"), (before, "-D")):
        if isinstance(rule, MarkRule) and before != after:
            words = written(rule, IPTABLES)
            typed.append([iptables(rule.vip.version), "-t", "mangle", verb, *words])
    return typed


def _check_mark(action: Action, _mark: Mark | None) -> list[Argv]:
    resource = action.resource
    if not isinstance(resource, CheckMark) or action.before == action.after:
        return []
    six = resource.version == IPV6
    mark = ["-f", str(resource.mark), *(["-6"] if six else [])]
    if action.after is None:
        return [["ipvsadm", "-D", *mark]]
    gone = [["ipvsadm", "-D", *mark]] if action.before is not None else []
    built = [["ipvsadm", "-A", *mark, "-s", "rr"]]
    server = f"[{resource.server}]:0" if six else str(resource.server)
    return [*gone, *built, ["ipvsadm", "-a", *mark, "-r", server, *_way(resource)]]


def _spec_file(action: Action, _mark: Mark | None) -> list[Argv]:
    """Write what is sent to the daemon's host; `SPEC` stands for the file at hand."""
    resource = action.resource
    if not isinstance(resource, SpecFile) or action.before == action.after:
        return []
    if action.after is None:
        return [["rm", resource.path]]
    return [["install", "-m", "0644", "SPEC", resource.path]]


def _boot_file(action: Action, _mark: Mark | None) -> list[Argv]:
    """Write a file whole; the text is an argument, so that a shell can be given the line."""
    resource = action.resource
    if not isinstance(resource, (BootFile, BootVip)) or action.before == action.after:
        return []
    if action.after is None:
        return [["rm", resource.path]]
    write = 'mkdir -p "${1%/*}" && umask 077 && printf %s "$3" >"$1" && chmod "$2" "$1"'
    return [["sh", "-c", write, "sh", resource.path, f"{resource.mode:04o}", _plain(resource.text)]]


def _plain(quoted: str) -> str:
    text: str = json.loads(quoted)
    return text


_TYPED: dict[type, Callable[[Action, Any], list[Argv]]] = {
    Sysctl: _sysctl,
    Timeout: _timeout,
    Link: _link,
    TunnelLink: _tunnel_link,
    GuePort: _gue_port,
    ArpSilence: _silence,
    HeldVip: _address,
    Service: _service,
    CheckMark: _check_mark,
    SpecFile: _spec_file,
    BootFile: _boot_file,
    BootVip: _boot_file,
    Destination: _destination,
    MarkRule: _mark_rule,
    AnnouncedVip: _address,
}
