"""Every keyword of keepalived's virtual servers: what it becomes in a spec, or why it does not."""

from __future__ import annotations

from onearm.imports import forwarding, values
from onearm.imports import keepalived_values as special
from onearm.imports.table import Row, table

VS, RS = "virtual_server", "real_server"
CHECKERS = {  # and the kind of check that each becomes
    "HTTP_GET": "http",
    "SSL_GET": "https",
    "TCP_CHECK": "tcp",
    "SMTP_CHECK": "tcp",
    "DNS_CHECK": "dns",
    "MISC_CHECK": "script",
    "UDP_CHECK": "udp",
    "PING_CHECK": "icmp",
}
CONNECTING = " ".join(name for name in CHECKERS if name != "MISC_CHECK")
ANY_CHECK = " ".join(CHECKERS)
GET = "HTTP_GET SSL_GET"
EVERYWHERE = f"{VS} {RS} {ANY_CHECK}"

LESS = "kind: tcp, which is less"
MAIL = "onearm sends no mail: alerts come from its metrics"
HOOK = "onearm runs no script when something changes: its log and metrics say it"
SAFE_START = "a real server that no check has asked yet is neither taken in nor thrown out"
BOUND = "the kernel chooses where a check's packets come from"
TUNED = "no such knob of a pattern is needed"
DYNAMIC = "exit codes of 2 and more would be failures to onearm: nothing is checked"
ONE_HOST = "the service's own real servers are asked"
SORRY = "a sorry server that is not needed is not in the table, also not with weight 0"
LENGTH = "how long a reply is does not count"

ROWS = (
    # What the service is
    Row("file", VS, "vip, port", "an address with a port", read=special.block, most=0),
    Row("file", "virtual_server_group", "vip, port", "a service each", read=special.block, most=0),
    Row(VS, "lb_algo lvs_sched", "scheduler", read=values.scheduler),
    Row(VS, "sh-port sh-fallback mh-port mh-fallback", "flags[]", read=values.scheduler_flag),
    Row(VS, "flag-1 flag-2 flag-3 hashed", "flags[]", read=special.numbered_flag),
    Row(VS, "lb_kind", "forwarding", "NAT, DR and TUN", read=forwarding.method, most=0),
    Row(
        f"{VS} {RS}", "lvs_method", "forwarding", "NAT, DR and TUN", read=forwarding.method, most=0
    ),
    Row(VS, "protocol", "protocol", "TCP, UDP and SCTP", read=values.protocol),
    Row(VS, "persistence_timeout", "persistence", "360 s alone", read=special.persistence),
    Row(VS, "persistence_granularity", "persistence.netmask", read=values.netmask),
    Row(VS, "persistence_engine", "persistence.engine", read=values.engine),
    Row(VS, "ops", "flags[]", "udp only", read=values.one_packet),
    Row(VS, "ip_family", why="it is for services by firewall mark"),
    Row(f"{VS} {RS}", "weight", "weight", read=values.weight),
    Row(VS, RS, "real_servers, port", "a port of its own behind NAT", read=special.block, most=0),
    Row(RS, "uthreshold", "upper", read=values.bound),
    Row(RS, "lthreshold", "lower", read=values.bound),
    Row("global_defs", "lvs_timeouts", "timeouts", read=special.timeouts, most=0),
    # What becomes of failures
    Row(f"{VS} {RS}", "inhibit_on_failure", "on_failure", "of all its servers", read=values.flag),
    Row(VS, "quorum", "quorum", "where all weights are equal", read=values.counted(1, 10**9)),
    Row(VS, "hysteresis", why="a spec's quorum is met or not: `rise` and `fall` damp flapping"),
    Row(VS, "sorry_server", "sorry_server", "with the VIP's port", read=special.sorry, most=2),
    Row(VS, "sorry_server_lvs_method", "sorry.forwarding", read=forwarding.method, most=0),
    Row(VS, "sorry_server_inhibit", why=SORRY, differs=True),
    Row(f"{EVERYWHERE}", "alpha", why=SAFE_START),
    Row(VS, "omega", why="onearm runs no script on its end, and leaves the table as it is"),
    Row(VS, "ha_suspend", why="checks go on while another director holds the VIP"),
    Row(VS, "quorum_up quorum_down", why=HOOK),
    Row(RS, "notify_up notify_down", why=HOOK),
    Row(f"{VS} {RS}", "smtp_alert", why=MAIL),
    Row(f"{VS} {RS}", "snmp_name", why="onearm has Prometheus metrics, no SNMP"),
    # Checks
    Row(EVERYWHERE, "delay_loop", "check.interval", read=values.interval),
    Row(f"{VS} {RS} {CONNECTING}", "connect_timeout", "check.timeout", read=values.timeout),
    Row(EVERYWHERE, "retry", "check.fall", "one more", read=values.failures),
    Row(GET, "nb_get_retry", "check.fall", "one more", read=values.failures),
    Row(EVERYWHERE, "delay_before_retry", why="a check that failed is repeated after `interval`"),
    Row(EVERYWHERE, "warmup", why="first checks are spread by themselves"),
    Row(ANY_CHECK, "log_all_failures", why="the daemon's log has every change with its reason"),
    Row(f"{VS} {RS} {GET} url", "virtualhost", "check.host", read=values.domain),
    Row(CONNECTING, "connect_ip", "check.address", read=values.host_address),
    Row(CONNECTING, "connect_port", "check.port", read=values.one_port),
    Row(CONNECTING, "bindto bind_port bind_if", why=BOUND),
    Row(CONNECTING, "fwmark", why="a check's mark is onearm's own"),
    *(
        Row(RS, name, "check.kind", f"kind: {kind}", read=special.block, most=0)
        for name, kind in CHECKERS.items()
        if name != "SMTP_CHECK"
    ),
    Row(RS, "SMTP_CHECK", "check.kind", LESS, differs=True, read=special.block, most=0),
    Row(RS, "BFD_CHECK", why="onearm speaks no BFD: this server is not checked so", differs=True),
    Row(RS, "FILE_CHECK", why="onearm reads no weights from files", differs=True),
    Row(GET, "url", "check.path", "the first one", read=special.block, most=0),
    Row(GET, "http_protocol", why="the check speaks HTTP/1.1 and closes the connection"),
    Row(GET, "fast_recovery", why="one path is asked, so there is nothing to wait for"),
    Row(GET, "enable_sni", why="TLS asks for the name in `host` anyway"),
    Row(GET, "sni_name", why="TLS asks for the name in `host`"),
    Row("SSL_GET url", "tls_compliant", why="an end of TLS without goodbye is no failure"),
    Row("url", "path", "check.path", read=special.url_path),
    Row("url", "status_code", "check.codes", read=special.codes, most=0),
    Row("url", "digest", why="a spec has no digests: ask for a text with `body`", differs=True),
    Row("url", "regex", "check.body", "a spec's patterns", read=special.regex, most=0),
    Row(
        "url", "regex_options", "regex.options", "caseless, multiline", read=special.options, most=0
    ),
    Row("url", "regex_no_match", why="a spec asks only for what is there", differs=True),
    Row("url", "regex_min_offset regex_max_offset", why="the whole body is searched", differs=True),
    Row("url", "regex_stack", why=TUNED),
    Row("SMTP_CHECK", "helo_name", why="no SMTP is spoken", differs=True),
    Row("SMTP_CHECK", "host", why="the service's own real servers are asked", differs=True),
    Row("host", "connect_ip connect_port bindto bind_port bind_if fwmark", why=ONE_HOST),
    Row("host", "alpha delay_before_retry delay_loop warmup", why=ONE_HOST),
    Row("host", "connect_timeout retry log_all_failures", why=ONE_HOST),
    Row("BFD_CHECK", "name alpha", why="onearm speaks no BFD"),
    Row("FILE_CHECK", "track_file dynamic weight", why="onearm reads no weights from files"),
    Row("SSL", "password certificate key", why="a spec has no client certificates"),
    Row("SSL", "ca", why="keepalived verifies nobody with it; `verify` and `ca` in a check do"),
    Row("DNS_CHECK", "type", "check.record", read=special.record),
    Row("DNS_CHECK", "name", "check.query", read=special.query),
    Row("MISC_CHECK", "misc_path", "check.argv", read=special.argv, most=0),
    Row("MISC_CHECK", "misc_timeout", "check.timeout", read=values.timeout),
    Row("MISC_CHECK", "misc_dynamic", why=DYNAMIC, differs=True),
    Row("MISC_CHECK", "user", why="scripts run as the daemon's user"),
    Row("UDP_CHECK", "payload", "check.send", read=special.payload, most=0),
    Row("UDP_CHECK", "require_reply", "check.expect", read=special.reply, most=0),
    Row("UDP_CHECK", "min_reply_length max_reply_length", why=LENGTH, differs=True),
)
SPLIT = tuple(row._replace(word=word) for row in ROWS for word in row.word.split())
TABLE = table(SPLIT)

TOP = {  # blocks and lines that are no virtual servers
    "global_defs": "nothing of it is needed here",
    "vrrp_instance": "a spec has one director yet, which announces the VIPs of its services itself",
    "vrrp_sync_group": "a spec has one director yet",
    "vrrp_script": "a spec has one director yet",
    "vrrp_track_process": "a spec has one director yet",
    "SSL": "give `verify` and `ca` in the check: a spec has no client certificates",
    "virtual_server_group": "no virtual server that could be carried uses it",
}
OTHER = "it is no virtual server, and a spec has no place for it"
