"""Specs that are refused: each text with the line and the words of its complaint."""

import pytest

from onearm import spec
from onearm.errors import SpecError

HOSTS = """\
directors:
  server-1: 203.0.113.3
real_servers:
  server-2: 203.0.113.4
  server-3: 203.0.113.5
"""
SERVICE = """\
services:
  - vip: 203.0.113.2
    port: 80/tcp
"""
GOOD = HOSTS + SERVICE
SIX = """\
directors:
  d: {address: 203.0.113.3, address6: '2001:db8::3'}
real_servers:
  s: {address: 203.0.113.4, address6: '2001:db8::4'}
# both families
"""


def complaints(text, name="web.yaml"):
    with pytest.raises(SpecError) as caught:
        spec.parse(text, name)
    return caught.value.complaints


def service(lines, hosts=HOSTS):
    return f"{hosts}services:\n  - {lines}\n"


def in_service(more):
    return service(f"{{vip: 203.0.113.2, port: 80/tcp, {more}}}")


def cloud(more):
    network = "" if more.startswith("net") else "network: n, "
    return f"{GOOD}openstack: {{{network}{more}}}"


def servers(more):
    return f"directors: {{d: 203.0.113.3}}\nreal_servers: {more}\n{SERVICE}"


REFUSED = [  # text, line, fragments
    # the file
    ("", 1, "the spec is empty"),
    ("# only a remark\n", 1, "the spec is empty"),
    ("just words", 1, "a spec is 'just words'", "a map"),
    ("[a, b]", 1, "a spec is a list"),
    ("a: [1\nb: 2", 2, "not YAML"),
    ("a: b\x00", 1, "not YAML"),
    ("a:\n\tb: c", 2, "not YAML", "cannot start any token"),
    (GOOD + "---\n" + GOOD, 9, "a second document"),
    ("a: \ud800", 1, "half a surrogate pair"),
    ("a: *b", 1, "*b has no finished &b above"),
    ("a: &a [*a]", 1, "*a has no finished &a above"),
    ("- " * 100, 1, "levels deep"),
    # keys
    ("a: 1", 1, "directors is missing", "real_servers is missing", "services is missing"),
    (GOOD + "real_server: {}", 9, "'real_server'", "did you mean 'real_servers'?"),
    (GOOD + "wholly_else: 1", 9, "'wholly_else'", "known are name, directors"),
    (GOOD + "openstck: {cloud: x}", 9, "did you mean 'openstack'?"),
    (GOOD + "<<: {}", 9, "reads as a merge"),
    (GOOD + "5: 1", 9, "key 5 reads as a number"),
    (GOOD + "[a]: 1", 9, "key is a list"),
    (GOOD + "arp: nft\nname: a\narp: nft", 11, "'arp' stands twice", "first at line 9"),
    (in_service("vpi: 1"), 7, "unknown key 'vpi' in a service; did you mean 'vip'?"),
    (servers("{a: {adress: 1.2.3.4}}"), 2, "did you mean 'address'?", "'a' has no address"),
    ("directors: {d: {address: 1.2.3.4, arp: nft}}", 1, "unknown key 'arp' in director 'd'"),
    # hosts
    (servers("{}"), 2, "real_servers is empty"),
    (servers("null"), 2, "real_servers is nothing"),
    (servers("[a]"), 2, "real_servers is a list"),
    ("directors: {}\n" + SERVICE, 1, "directors is empty: write the director"),
    (servers("{a: 1.2.3.4, a: 1.2.3.5}"), 2, "'a' stands twice in real_servers"),
    (servers("{d: 1.2.3.4}"), 2, "host 'd' is a director already (line 1)"),
    (servers("{a: 203.0.113.3}"), 2, "203.0.113.3", "address of 'd' already (line 1)"),
    ("directors:\n  a: 1.2.3.4\n  b: 1.2.3.5", 3, "second director 'b'", "until ha"),
    (servers("{-a: 1.2.3.4}"), 2, "host name '-a'", "63 letters"),
    (servers(f"{{{'a' * 64}: 1.2.3.4}}"), 2, "63 letters"),
    (servers("{7: 1.2.3.4}"), 2, "reads as a number", "quotes"),
    (servers("{'ä': 1.2.3.4}"), 2, "63 letters"),
    (servers("{a: {address: 1.2.3.4, arp: ntf}}"), 2, "unknown arp 'ntf'; did you mean 'nft'?"),
    # addresses
    (servers("{a: 1.2.3.4/24}"), 2, "'1.2.3.4/24'", "without /prefix length"),
    (servers("{a: 1.2.3}"), 2, "'1.2.3' is no address"),
    (servers("{a: 01.2.3.4}"), 2, "no address"),
    (servers("{a: '2001:db8::1::2'}"), 2, "no address", "2001:db8:203::2"),
    (servers("{a: '2001:db8::1%eth0'}"), 2, "without %LINK"),
    (servers("{a: '::ffff:1.2.3.4'}"), 2, "an IPv4 address in IPv6's clothes"),
    (servers("{a: 'fe80::4'}"), 2, "a link-local address (fe80::/10)"),
    (servers("{a: {address: 1.2.3.4, address6: 1.2.3.5}}"), 2, "no IPv6 address"),
    (servers("{a: {address: '2001:db8::4', address6: '2001:db8::5'}}"), 2, "leave address6 out"),
    (servers("{a: {address: 1.2.3.4, address6: '2001:db8::4'}, b: '2001:db8::4'}"), 2, "already"),
    (service("{vip: 'ff02::1', port: 80/tcp}"), 7, "a multicast address (ff00::/8)"),
    (service("{vip: '::1', port: 80/tcp}"), 7, "the loopback address"),
    (
        service("{vip: '2001:db8::2', port: 80/tcp, real_servers: [server-2]}"),
        7,
        "vip 2001:db8::2 is IPv6, and no IPv6 address is given of 'server-1', 'server-2'",
        "address6: IPV6",
    ),
    (servers("{a: 1.5}"), 2, "1.5 reads as a number"),
    (servers("{a: }"), 2, "is nothing"),
    (servers("{a: [1.2.3.4]}"), 2, "is a list"),
    (service("{vip: 224.0.0.1, port: 80/tcp}"), 7, "a multicast address"),
    (service("{vip: 127.0.0.1, port: 80/tcp}"), 7, "a loopback address"),
    (service("{vip: 0.0.0.0, port: 80/tcp}"), 7, "an unspecified address"),
    (service("{vip: 255.255.255.255, port: 80/tcp}"), 7, "the broadcast address"),
    (service("{vip: 169.254.1.1, port: 80/tcp}"), 7, "a link-local address"),
    (service("{vip: 203.0.113.4, port: 80/tcp}"), 7, "the own address of 'server-2' (line 4)"),
    # services
    (HOSTS + "services: []", 6, "services is empty", "onearm destroy takes everything down"),
    (HOSTS + "services: {}", 6, "services is a map"),
    (HOSTS + "services: [x]", 6, "a service is 'x'"),
    (service("{port: 80/tcp}"), 7, "a service has no vip: write vip: 203.0.113.2"),
    (service("{vip: 1.2.3.4}"), 7, "a service has no port: write port: 80/tcp"),
    (GOOD + "  - {vip: 203.0.113.2, port: 80/tcp}", 9, "203.0.113.2 80/tcp", "line 7"),
    (
        HOSTS + "services: [{vip: 1.2.3.4, port: 80/tcp}, {vip: 1.2.3.4, port: 80/tcp}]",
        6,
        "stands twice",
    ),
    (service("{vip: 1.2.3.4, port: 80}"), 7, "port 80", "write 80/tcp or 80/udp"),
    (service("{vip: 1.2.3.4, port: '80'}"), 7, "write 80/tcp or 80/udp"),
    (service("{vip: 1.2.3.4, port: 0/tcp}"), 7, "ports go from 1 to 65535"),
    (service("{vip: 1.2.3.4, port: 65536/udp}"), 7, "'65536/udp'", "1 to 65535"),
    (service("{vip: 1.2.3.4, port: 9/sctp, check: tcp}"), 7, "asks a tcp port", "is 9/sctp"),
    (service("{vip: 1.2.3.4, port: 9/sctp, flags: ops}"), 7, "suits udp alone, not sctp"),
    (service("{vip: 1.2.3.4, port: 9/SCTP}"), 7, "tcp, udp or sctp, in small letters"),
    (service("{vip: 1.2.3.4, port: 9/TCP}"), 7, "tcp, udp or sctp, in small letters"),
    (service("{vip: 1.2.3.4, port: tcp/80}"), 7, "'tcp/80'", "like 80/tcp"),
    (service("{vip: 1.2.3.4, port: 8.5}"), 7, "8.5 reads as a number"),
    (in_service("scheduler: wrrr"), 7, "unknown scheduler 'wrrr'; did you mean 'wrr'?"),
    (in_service("scheduler: lblc5z"), 7, "unknown scheduler"),
    (in_service("scheduler: [rr]"), 7, "scheduler is a list"),
    (in_service("scheduler: mh, flags: [sh-port]"), 7, "'sh-port'", "mh-fallback and mh-port"),
    (in_service("flags: mh-port"), 7, "unknown to scheduler wlc: it knows none"),
    (in_service("scheduler: sh, flags: [sh-port, sh-port]"), 7, "one stands twice"),
    (in_service("scheduler: sh, flags: {a: b}"), 7, "flag is a map"),
    (in_service("flags: ops"), 7, "suits udp alone, not tcp: leave it out"),
    (service("{vip: 1.2.3.4, port: 5/udp, flags: [ops, ops]}"), 7, "one stands twice"),
    # groups
    (service("{vip: 1.2.3.4, vips: [1.2.3.5], port: 80/tcp}"), 7, "vip and vips: write one"),
    (service("{vip: 1.2.3.4, port: 80/tcp, ports: [81/tcp]}"), 7, "port and ports: write one"),
    (service("{vips: 1.2.3.4, port: 80/tcp}"), 7, "vips is '1.2.3.4': write a list like"),
    (service("{vips: [], port: 80/tcp}"), 7, "vips is empty: write a list like"),
    (service("{vip: 1.2.3.4, ports: []}"), 7, "ports is empty: write a list like [80/tcp]"),
    (service("{vip: 1.2.3.4, ports: [80]}"), 7, "port 80 lacks its protocol"),
    (service("{vip: 1.2.3.4, ports: [80/tcp, 53/udp]}"), 7, "ports are of tcp and udp"),
    (service("{vip: 1.2.3.4, ports: [80/tcp, 80/tcp]}"), 7, "1.2.3.4 80/tcp stands twice"),
    (service("{vips: [1.2.3.4, 1.2.3.4], port: 80/tcp}"), 7, "1.2.3.4 80/tcp stands twice"),
    (service("{vips: [1.2.3.4, 203.0.113.4], port: 80/tcp}"), 7, "own address of 'server-2'"),
    (service("{vip: 1.2.3.4, port: 90-80/tcp}"), 7, "the first port of a range is the lesser one"),
    (service("{vip: 1.2.3.4, port: 80-65536/tcp}"), 7, "1 to 65535"),
    (service("{vip: 1.2.3.4, port: 0-80/tcp}"), 7, "1 to 65535"),
    (service("{vip: 1.2.3.4, port: 80-/tcp}"), 7, "write it like 80/tcp"),
    (
        servers("{a: {address: 1.2.3.5, address6: '2001:db8::5'}}")
        .replace("{d: 203.0.113.3}", "{d: {address: 1.2.3.4, address6: '2001:db8::4'}}")
        .replace("vip: 203.0.113.2", "vips: ['2001:db8::2', 1.2.3.6]"),
        4,
        "vips are of IPv4 and IPv6",
    ),
    (
        service(f"{{vip: 1.2.3.4, ports: [{', '.join(f'{n}/tcp' for n in range(1, 66))}]}}"),
        7,
        "a group of 65 endpoints: 64 are the most",
    ),
    (
        HOSTS + "services:\n  - {vip: 1.2.3.4, port: 80-90/tcp}\n  - {vip: 1.2.3.4, port: 85/tcp}",
        8,
        "service 1.2.3.4 85/tcp stands twice, first at line 7",
    ),
    (
        HOSTS + "services:\n  - {vip: 1.2.3.4, port: 85/tcp}\n  - {vip: 1.2.3.4, port: 80-90/tcp}",
        8,
        "service 1.2.3.4 80-90/tcp has ports of the service at line 7",
    ),
    (
        HOSTS
        + "services:\n  - {vip: 1.2.3.4, port: 90-99/tcp}\n"
        + "  - {vips: [1.2.3.5, 1.2.3.4], ports: [70/tcp, 80-90/tcp]}",
        8,
        "service 1.2.3.4 80-90/tcp has ports of the service at line 7",
    ),
    (
        service(
            "{vip: 1.2.3.4, ports: [80/tcp, 81/tcp], forwarding: masq,"
            " real_servers: {server-2: {port: 8080}}}"
        ),
        7,
        "port 8080: packets of a group keep their port",
    ),
    # persistence
    (in_service("persistence: 300"), 7, "persistence 300 has no unit: write 300s"),
    (in_service("persistence: 0s"), 7, "persistence '0s'", "leave persistence out"),
    (in_service("persistence: 0"), 7, "persistence 0", "leave persistence out"),
    (in_service("persistence: 745h"), 7, "longer than 744h"),
    (in_service("persistence: [300s]"), 7, "persistence is a list"),
    (in_service("persistence: {}"), 7, "persistence has no timeout: write {timeout: 300s}"),
    (in_service("persistence: {timeout: 5m, netmsk: 24}"), 7, "did you mean 'netmask'?"),
    (in_service("persistence: {timeout: 5m, netmask: 33}"), 7, "netmask 33", "1 to 32"),
    (in_service("persistence: {timeout: 5m, netmask: 255.255.255.0}"), 7, "whole number"),
    (in_service("persistence: {timeout: 5m, engine: sap}"), 7, "did you mean 'sip'?"),
    (in_service("persistence: {timeout: 5m, engine: sip}"), 7, "protocol is tcp", "udp"),
    # drain
    (in_service("drain: 30"), 7, "drain 30 has no unit", "30s, 5m or 1h"),
    (in_service("drain: 1.5m"), 7, "'1.5m'", "30s, 5m or 1h"),
    (in_service("drain: -5m"), 7, "'-5m'"),
    (in_service("drain: 25h"), 7, "longer than 24h"),
    (in_service("drain: 99999999999h"), 7, "30s, 5m or 1h"),
    (in_service("drain: true"), 7, "true has no unit"),
    (in_service("drain: null"), 7, "drain is nothing"),
    # checks
    (in_service("check: "), 7, "check is nothing: write a kind such as tcp, a map, or none"),
    (in_service("check: htpp"), 7, "unknown check 'htpp'; did you mean 'http'?"),
    (in_service("check: [tcp]"), 7, "check is a list"),
    (in_service("check: {kind: none}"), 7, "unknown kind of check 'none'"),
    (in_service("check: {kind: http, cods: 200}"), 7, "'cods' in check; did you mean 'codes'?"),
    (in_service("check: {path: /}"), 7, "kind tcp has no path", "add kind: http"),
    (in_service("check: {kind: tls, path: /}"), 7, "kind tls has no path; it goes with http"),
    (in_service("check: udp"), 7, "asks a udp port", "80/tcp", "like port: 80"),
    (service("{vip: 1.2.3.4, port: 53/udp, check: tcp}"), 7, "asks a tcp port", "like port: 53"),
    (in_service("check: {interval: 2}"), 7, "interval 2 has no unit", "2s, 500ms or 1m"),
    (in_service("check: {interval: 1.5s}"), 7, "'1.5s'", "2s, 500ms or 1m"),
    (in_service("check: {interval: 50ms}"), 7, "from 100ms to 3600s"),
    (in_service("check: {timeout: 2m, interval: 1h}"), 7, "from 100ms to 60s"),
    (in_service("check: {timeout: 3s}"), 7, "timeout 3 s is longer than interval 2 s"),
    (in_service("check: {rise: 0}"), 7, "rise 0: write a whole number from 1 to 100"),
    (in_service("check: {fall: '3'}"), 7, "fall '3'", "without quotes"),
    (in_service("check: {port: 80/tcp}"), 7, "write the number alone"),
    (in_service("check: {port: 0}"), 7, "port of a check 0"),
    (in_service("check: {through: arm}"), 7, "unknown through 'arm'; known are vip, host"),
    (in_service("check: {address: 1.2.3.4}"), 7, "address goes with through: host"),
    (in_service("check: {through: host, address: 127.0.0.1}"), 7, "a loopback address"),
    (in_service("check: {kind: icmp, through: vip}"), 7, "IPVS hands on no echo requests"),
    (in_service("check: {kind: icmp, port: 7}"), 7, "kind icmp has no port"),
    (in_service("check: {kind: http, method: PUT}"), 7, "unknown method 'PUT'"),
    (in_service("check: {kind: http, path: 'a b'}"), 7, "path 'a b': it begins with /"),
    (in_service("check: {kind: http, host: a_b..c}"), 7, "host 'a_b..c'", "www.example.org"),
    (in_service("check: {kind: http, codes: 99}"), 7, "codes 99: write 204, 200-299"),
    (in_service("check: {kind: http, codes: [300-200]}"), 7, "codes '300-200'"),
    (in_service("check: {kind: http, codes: []}"), 7, "codes is empty"),
    (in_service("check: {kind: http, body: ''}"), 7, "body is empty"),
    (in_service("check: {kind: http, body: '(a'}"), 7, "body '(a'", "a ( without its )"),
    (in_service("check: {kind: http, body: '(?=a)'}"), 7, "(?=...) is not supported"),
    (in_service("check: {kind: http, body: 'a{999}{2}'}"), 7, "a repetition is repeated"),
    (in_service("check: {kind: http, body: '(a{99}){99}'}"), 7, "more than 1000 steps"),
    (in_service(f"check: {{kind: http, body: {'a' * 501}}}"), 7, "longer than 500 characters"),
    (in_service("check: {kind: http, method: HEAD, body: x}"), 7, "an answer to HEAD has no body"),
    (in_service("check: {kind: https, ca: /x}"), 7, "ca says nothing without verify: true"),
    (in_service("check: {kind: https, verify: true, ca: x}"), 7, "the whole path on the director"),
    (in_service("check: {kind: udp, port: 5, send: ☃}"), 7, "each character is one byte"),
    (in_service("check: {kind: udp, port: 5, expect: ☃}"), 7, "is no single byte"),
    (in_service(f"check: {{kind: udp, port: 5, send: {'a' * 1401}}}"), 7, "up to 1400 fit"),
    (in_service("check: {kind: dns, port: 53}"), 7, "has no query", "query: www.example.org"),
    (in_service("check: {kind: dns, port: 53, query: 'a b'}"), 7, "query 'a b'"),
    (in_service("check: {kind: dns, port: 53, query: a, record: X}"), 7, "unknown record 'X'"),
    (
        in_service("check: {kind: dns, port: 53, query: a, answer: b}"),
        7,
        "no address of a record A",
    ),
    (
        in_service("check: {kind: dns, port: 53, query: a, record: SOA, answer: b}"),
        7,
        "answer goes with record A, AAAA",
    ),
    (in_service("check: script"), 7, "has no argv", "argv: [/path/to/script]"),
    (in_service("check: {kind: script, argv: ls -l}"), 7, "argv is 'ls -l': write a list"),
    (in_service("check: {kind: script, argv: []}"), 7, "argv has 0 words"),
    (in_service("check: {kind: script, argv: [ls]}"), 7, "'ls' is looked for nowhere"),
    (in_service("check: {kind: script, argv: [/x], through: vip}"), 7, "opens its own connections"),
    (GOOD + "check: htpp", 9, "unknown check 'htpp'; did you mean 'http'?"),
    (GOOD + "check: {kind: udp, port: 5, send: ☃}", 9, "each character is one byte"),
    (in_service("check: none") + "check: {interval: 1}", 8, "interval 1 has no unit"),
    # members
    (in_service("real_servers: []"), 7, "a service without real servers"),
    (in_service("real_servers: {}"), 7, "a service without real servers"),
    (in_service("real_servers: server-2"), 7, "'server-2': write a list or map"),
    (in_service("real_servers: [server-22]"), 7, "not in real_servers; did you mean 'server-2'?"),
    (in_service("real_servers: [server-1]"), 7, "'server-1' is not in real_servers"),
    (in_service("real_servers: [server-2, server-2]"), 7, "stands twice in this service"),
    (in_service("real_servers: [{server-2: }]"), 7, "real server is a map"),
    (in_service("real_servers: {server-2: 3}"), 7, "is 3: write {weight: 3}"),
    (in_service("real_servers: {server-2: {port: 8080}}"), 7, "it is the VIP's port"),
    (in_service("real_servers: {server-2: {wieght: 3}}"), 7, "did you mean 'weight'?"),
    (in_service("real_servers: {server-2: {weight: -1}}"), 7, "weight -1", "0 to 65535"),
    (in_service("real_servers: {server-2: {weight: 65536}}"), 7, "weight 65536", "0 to 65535"),
    (in_service("real_servers: {server-2: {weight: '3'}}"), 7, "weight '3'", "without quotes"),
    (in_service("real_servers: {server-2: {weight: 1.5}}"), 7, "weight is 1.5"),
    (in_service("real_servers: {server-2: {weight: 0x10}}"), 7, "weight is 0x10"),
    (in_service("real_servers: {server-2: {weight: !!int x}}"), 7, "weight is x"),
    (in_service("real_servers: {server-2: {weight: true}}"), 7, "weight is true"),
    (in_service(f"real_servers: {{server-2: {{weight: {'9' * 5000}}}}}"), 7, "0 to 65535"),
    (in_service("real_servers: {server-2: {upper: 0}}"), 7, "upper 0", "1 to 999999"),
    (in_service("real_servers: {server-2: {upper: 5, lower: 6}}"), 7, "lower 6 is greater than"),
    (in_service("real_servers: {server-2: {lower: 6}}"), 7, "lower 6 goes with upper"),
    (in_service("real_servers: {server-2: {upper: many, lower: 6}}"), 7, "upper is 'many'"),
    # forwarding
    (in_service("forwarding: tunel"), 7, "'tunel'; did you mean 'tunnel'?"),
    (in_service("forwarding: [masq]"), 7, "forwarding is a list"),
    (in_service("forwarding: {type: gue}"), 7, "has no method: write method: tunnel"),
    (in_service("forwarding: {method: nat}"), 7, "unknown forwarding method 'nat'"),
    (in_service("forwarding: {method: tunnel, type: vxlan}"), 7, "unknown forwarding type 'vxlan'"),
    (in_service("forwarding: {method: masq, type: gre}"), 7, "type of forwarding goes with tunnel"),
    (in_service("forwarding: {method: tunnel, port: 6081}"), 7, "port of forwarding goes with gue"),
    (in_service("forwarding: {method: tunnel, type: gue, port: 0}"), 7, "port 0", "1 to 65535"),
    (in_service("forwarding: {method: tunnel, typ: gue}"), 7, "did you mean 'type'?"),
    (
        in_service("real_servers: {server-2: {forwarding: tunnel, port: 81}}"),
        7,
        "port 81: with forwarding tunnel",
        "masq maps ports",
    ),
    (in_service("forwarding: masq, real_servers: {server-2: {port: x}}"), 7, "port is 'x'"),
    (
        HOSTS
        + "services:\n  - {vip: 1.2.3.4, port: 80/tcp, forwarding: masq}\n"
        + "  - {vip: 1.2.3.4, port: 81/tcp, real_servers: [server-2]}",
        7,
        "real server 'server-2' is behind masq for 1.2.3.4 80/tcp",
        "and not for 1.2.3.4 81/tcp",
    ),
    (
        service("{vip: 1.2.3.4, port: 5/udp, flags: [ops], forwarding: masq}"),
        7,
        "flag ops keeps no connection, and 'server-2' is reached by masq",
        "leave ops out",
    ),
    (
        service(
            "{vip: 1.2.3.4, port: 5/udp, flags: ops, persistence: {timeout: 5m, engine: sip},"
            " real_servers: {server-2: , server-3: {forwarding: masq}}}"
        ),
        7,
        "flag ops keeps no connection, and 'server-3' is reached by masq",
    ),
    (
        service("{vip: '2001:db8::2', port: 80/tcp, forwarding: masq}", SIX),
        7,
        "vip 2001:db8::2 is IPv6, and 's' is reached by masq: IPv6 has forwarding direct only",
    ),
    (
        service("{vip: '2001:db8::2', port: 80/tcp, forwarding: {method: tunnel, type: gre}}", SIX),
        7,
        "vip 2001:db8::2 is IPv6, and 's' is reached by tunnel: IPv6 has forwarding direct only",
    ),
    (
        service(
            "{vip: 1.2.3.4, port: 9/sctp, forwarding: masq, persistence: 5m,"
            " real_servers: {server-2: , server-3: {forwarding: tunnel, port: 10}}}"
        ),
        7,
        "port 10: with forwarding tunnel",
    ),
    (
        in_service("forwarding: tunnel") + "openstack: {network: n}",
        8,
        "openstack plans the ports of direct routing",
        "'server-2' is reached by tunnel",
    ),
    # the rest
    (GOOD + "name: a b", 9, "name 'a b'"),
    (GOOD + "name: ", 9, "name is nothing"),
    (GOOD + "name: !!python/object:os.system x", 9, "python/object"),
    (GOOD + "arp: iptables", 9, "did you mean 'arptables'?"),
    (GOOD + "arp: {server-2: nft}", 9, "arp is a map"),
    (GOOD + "shared_director: 'yes'", 9, "write true or false"),
    (GOOD + "clients: 10.0.0.0/8", 9, "write a list like"),
    (GOOD + "clients: []", 9, "clients is empty"),
    (GOOD + "clients: [198.51.100.7/24]", 9, "host bits", "the prefix is 198.51.100.0/24"),
    (GOOD + "clients: [198.51.100.7]", 9, "write it as 198.51.100.7/32"),
    (GOOD + "clients: [10.0.0.0/255.0.0.0]", 9, "write it as 10.0.0.0/8"),
    (GOOD + "clients: ['2001:db8::1/32']", 9, "host bits set: the prefix is 2001:db8::/32"),
    (GOOD + "clients: ['2001:db8::/x']", 9, "2001:db8:5::/64"),
    (GOOD + "clients: [lan]", 9, "'lan'", "198.51.100.0/24"),
    (GOOD + "reach: shh", 9, "did you mean 'ssh'?"),
    (GOOD + "reach: [ssh, x]", 9, "reach is a list"),
    (GOOD + "reach: {server-1: [ssh, -p, 22]}", 9, "22 reads as a number"),
    (GOOD + "reach: {server-1: [ssh, '']}", 9, "'' is no word"),
    (GOOD + 'reach: {server-1: ["a\\nb"]}', 9, "'a\\nb' is no word"),
    (GOOD + "reach: {default: [ssh]}", 9, "reach is a list"),
    (GOOD + "reach: {server-1: {a: b}}", 9, "reach is a map"),
    (GOOD + "reach: {a b: ssh}", 9, "host name 'a b'"),
    (GOOD + "timeouts: 900s", 9, "timeouts is '900s'", "a map"),
    (GOOD + "timeouts: {}", 9, "timeouts is empty: write {tcp: 900s}"),
    (GOOD + "timeouts: {tcp: 900}", 9, "timeout tcp 900 has no unit"),
    (GOOD + "timeouts: {tcp: 0s}", 9, "timeout tcp '0s'", "leave it out"),
    (GOOD + "timeouts: {udp: 745h}", 9, "longer than 744h"),
    (GOOD + "timeouts: {tcpfin: 2m}", 9, "did you mean 'tcp_fin'?"),
    # the cloud
    (cloud("netwerk: n"), 9, "unknown key 'netwerk' in openstack; did you mean 'network'?"),
    (GOOD + "openstack: lab", 9, "openstack is 'lab'"),
    (GOOD + "openstack:", 9, "openstack is nothing"),
    (GOOD + "openstack: {cloud: x}", 9, "no network, and no port for server-1, server-2, server-3"),
    (GOOD + "openstack: {ports: {server-1: p}}", 9, "no port for server-2, server-3"),
    (cloud("ports: {server-9: p}"), 9, "no host of this spec; did you mean 'server-"),
    (cloud("ports: {server-1: }"), 9, "port of 'server-1' is nothing"),
    (cloud("ports: [p]"), 9, "ports is a list"),
    (cloud("cloud: 5"), 9, "cloud 5 reads as a number"),
    (cloud("cloud: ''"), 9, "cloud '' is no name"),
    (cloud("firewall: ovs"), 9, "unknown firewall 'ovs'; did you mean 'ovn'?"),
    (cloud("firewall: iptables"), 9, "did you mean 'iptables_hybrid'?"),
    (cloud("manage_security_groups: 'no'"), 9, "write true or false"),
    (cloud("reserve_vip: 1"), 9, "reserve_vip is 1: write true or false"),
    (cloud("director_groups: replaced"), 9, "did you mean 'replace'?"),
    (cloud("director_groups: true"), 9, "reads as true or false"),
    (GOOD + "boot: netplan", 9, "unknown boot 'netplan'", "known are auto, networkd"),
    (GOOD + "boot: true", 9, "boot true reads as true or false"),
    (GOOD + "boot: [off]", 9, "boot is a list"),
    (cloud("director_port_security: no"), 9, "write on or off"),
    (cloud("director_port_security: [off]"), 9, "is a list: write on or off"),
    (cloud("max_address_pairs: 0"), 9, "max_address_pairs 0: write a whole number from 1 to"),
    (cloud("max_address_pairs: many"), 9, "max_address_pairs is 'many': write a whole number"),
    (cloud("network: n").replace("server-2", "neutron"), 4, "'neutron'", "call it otherwise"),
]
