"""The lab itself, really booted: it keeps hosts apart, carries bytes exactly, leaves nothing."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from labs import RESPONDER, RESPONDER_ENDS, RESPONDER_STARTS

from onearm import errors
from onearm.lab import client, paths, security
from onearm.lab import topology as network

pytestmark = pytest.mark.lab
SOURCE = Path(client.__file__).parents[2]
NOBODY = 64911  # a user without rights, groups or an account
PREAMBLE = f"import sys; sys.path.insert(0, {str(SOURCE)!r}); from onearm.lab import client\n"
EXEC = PREAMBLE + "sys.exit(client.exec_main(sys.argv[1], sys.argv[2], sys.argv[3:]))"
NAME = f"lt-{os.getpid()}"


@pytest.fixture(scope="module")
def lab():
    info = client.up(NAME)
    print(f"\nlab: {info.backend} ({info.why}), kernel {info.kernel}, up in {info.boot_s} s")
    yield NAME
    client.down(NAME)


@pytest.fixture
def second():
    """Name another lab and end it, whatever the test did."""
    name = f"{NAME}.second"
    yield name
    client.down(name)


def command(lab, host, *argv):
    return [sys.executable, "-I", "-c", EXEC, lab, host, *argv]


def execute(lab, host, *argv, **options):
    return subprocess.run(command(lab, host, *argv), capture_output=True, timeout=60, **options)


def start(lab, host, *argv):
    pipe = subprocess.PIPE
    return subprocess.Popen(command(lab, host, *argv), stdin=pipe, stdout=pipe, stderr=pipe)


def stat(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def processes():
    """Every living process: its parent and the instant it started, which makes pids unique."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                fields = stat(entry.name)
                if fields[0] != "Z":
                    found[int(entry.name)] = (int(fields[1]), fields[19])
    return found


def family(pid):
    """Return a process and all that descends from it, with their starts."""
    table = processes()
    members = {pid}
    while True:
        more = {p for p, (parent, _) in table.items() if parent in members} | members
        if more == members:
            return {(p, table[p][1]) for p in members}
        members = more


def left_of(members):
    return members & {(pid, started) for pid, (_, started) in processes().items()}


def eventually(fact, seconds=20):
    until = time.monotonic() + seconds
    while not fact() and time.monotonic() < until:
        time.sleep(0.02)
    return fact()


# --- exec


def test_exec_keeps_stdout_stderr_and_the_exit_code_apart(lab):
    done = execute(lab, "server-1", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"out\n", b"err\n")


def test_exec_passes_stdin_and_words_exactly(lab):
    words = ["a b", "", "$HOME", "'", "ü", "*", "\n"]
    done = execute(lab, "client", "printf", "%s|", *words, input=b"")
    assert done.stdout.decode() == "".join(f"{word}|" for word in words)
    assert execute(lab, "client", "wc", "-c", input=bytes(range(256))).stdout == b"256\n"


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["nosuch"], 127),
        (["/no/such/dir"], 127),
        (["/etc"], 126),
        (["sh", "-c", "kill -9 $$"], 137),
        (["sh", "-c", "kill -TERM $$"], 143),
        (["true"], 0),
        (["false"], 1),
    ],
)
def test_exec_ends_as_a_shell_would_say_it(lab, argv, code):
    assert client.call(lab, "server-1", argv)[0] == code


def test_a_command_that_cannot_start_says_why(lab):
    _, out, err = client.call(lab, "server-1", ["nosuch"])
    assert (out, err) == (b"", b"server-1: nosuch: No such file or directory\n")


def test_one_megabyte_goes_in_and_out_unchanged(lab):
    data = os.urandom(1 << 20)
    begun = time.monotonic()
    assert execute(lab, "server-1", "cat", input=data).stdout == data
    print(f"\n1 MiB in and out: {time.monotonic() - begun:.2f} s")


def test_a_file_can_be_put_there_through_stdin(lab):
    argv = ["install", "-D", "-m", "0700", "/dev/stdin", "/run/onearm/node-0.pyz"]
    assert client.call(lab, "server-1", argv, b"\0node\xff") == (0, b"", b"")
    assert client.call(lab, "server-1", ["cat", argv[-1]])[1] == b"\0node\xff"


def test_an_argument_list_of_a_hundred_kilobytes_arrives(lab):
    word = "x" * 100_000
    assert client.call(lab, "server-1", ["printf", "%s", word])[1] == word.encode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_exec_hands_signals_on_to_the_whole_group(lab, number):
    script = f"trap 'echo caught; kill %1; exit 9' {int(number)}; sleep 60 & echo ready; wait"
    running = start(lab, "server-1", "bash", "-m", "-c", script)
    assert running.stdout.readline() == b"ready\n"
    running.send_signal(number)
    out, _ = running.communicate(timeout=20)
    assert (running.returncode, out) == (9, b"caught\n")


def test_a_signal_without_a_trap_kills_the_command(lab):
    running = start(lab, "server-1", "sh", "-c", "echo ready; exec sleep 60")
    assert running.stdout.readline() == b"ready\n"
    running.terminate()
    running.communicate(timeout=20)
    assert running.returncode == 128 + signal.SIGTERM


def test_a_reader_that_leaves_ends_the_command_by_sigpipe(lab):
    running = start(lab, "server-1", "yes")
    assert running.stdout.readline() == b"y\n"
    running.stdout.close()
    assert running.wait(20) == 128 + signal.SIGPIPE
    running.stdin.close()
    running.stderr.close()


def test_a_dead_caller_hangs_up_on_the_command(lab):
    script = "echo $$; sleep 1000 & wait"
    running = start(lab, "server-2", "sh", "-c", script)
    pid = running.stdout.readline().decode().strip()
    running.kill()
    running.communicate(timeout=20)
    gone = lambda: client.call(lab, "server-2", ["kill", "-0", "--", f"-{pid}"])[0] != 0
    assert eventually(gone)


def test_a_command_ends_though_something_that_it_started_still_runs(lab):
    code, out, _ = client.call(lab, "server-1", ["sh", "-c", "(sleep 2; echo late) & echo soon"])
    assert (code, out) == (0, b"soon\n")


def test_a_slow_reader_stalls_nobody_and_nothing_grows(lab):
    info = client.info(lab)
    slow = [start(lab, host, "yes") for host in ("server-1", "server-1", "client")]
    deaf = start(lab, "server-1", "sleep", "60")
    os.set_blocking(deaf.stdin.fileno(), False)
    with contextlib.suppress(BlockingIOError):
        while os.write(deaf.stdin.fileno(), bytes(65536)):
            time.sleep(0.01)
    for reader in slow:
        reader.stdout.readline()
    time.sleep(1)
    assert client.call(lab, "server-1", ["echo", "still here"])[1] == b"still here\n"
    resident = int(Path(f"/proc/{info.pid}/statm").read_text().split()[1]) * 4096
    assert resident < 64 << 20
    for running in (*slow, deaf):
        running.kill()
        running.communicate(timeout=20)


def test_many_commands_run_at_once(lab):
    running = [start(lab, "server-1", "sh", "-c", f"sleep 0.3; echo {i}") for i in range(20)]
    assert [int(one.communicate(timeout=60)[0]) for one in running] == list(range(20))


def test_what_exec_costs(lab):
    for how, one in (
        ("process", lambda: execute(lab, "server-1", "true")),
        ("call", lambda: client.call(lab, "server-1", ["true"])),
    ):
        begun = time.monotonic()
        for _ in range(5):
            one()
        print(f"\nexec true, {how}: {(time.monotonic() - begun) / 5 * 1000:.0f} ms")


# --- hosts


def test_every_host_has_its_own_name_files_and_processes(lab):
    places = ("/run/mark", "/etc/mark", "/var/lib/mark", "/var/log/mark")
    hosts = [name for name in network.HOSTS if name != network.SEGMENT]
    marks = " ".join(places)
    write = f"hostname; for p in {marks}; do hostname > $p; done; mkdir /var/lib/onearm"
    for host in hosts:
        assert client.call(lab, host, ["sh", "-c", write]) == (0, f"{host}\n".encode(), b"")
    for host in hosts:
        out = client.call(lab, host, ["cat", *places, "/etc/hostname"])[1]
        assert out == f"{host}\n".encode() * 5
        assert int(client.call(lab, host, ["sh", "-c", "ps ax | wc -l"])[1]) < 9
    assert not any(Path(place).exists() for place in places)


def test_commands_see_the_tools_of_this_machine_with_a_plain_environment(lab):
    out = client.call(lab, "server-1", ["env"])[1].decode()
    found = dict(line.split("=", 1) for line in out.splitlines())
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert {"PATH": path, "HOME": "/root", "LANG": "C.UTF-8"}.items() <= found.items()
    assert client.call(lab, "server-1", ["pwd"])[1] == b"/\n"


def test_the_network_is_the_reference_network(lab):
    for host, address in (("server-1", "203.0.113.3"), ("server-2", "203.0.113.4")):
        out = client.call(lab, host, ["ip", "-json", "address", "show", "eth0"])[1]
        (link,) = json.loads(out)
        assert (link["addr_info"][0]["local"], link["addr_info"][0]["prefixlen"]) == (address, 27)
    out = client.call(lab, "client", ["ip", "-json", "-4", "address", "show", "eth0"])[1]
    assert len(json.loads(out)[0]["addr_info"]) == network.CLIENTS
    assert client.call(lab, "router", ["cat", "/proc/sys/net/ipv4/ip_forward"])[1] == b"1\n"
    assert client.call(lab, "server-1", ["cat", "/proc/sys/net/ipv4/ip_forward"])[1] == b"0\n"


def test_the_kernel_has_ip_vs_and_loads_schedulers_when_asked(lab):
    script = "ipvsadm -A -t 203.0.113.2:80 -s mh && ipvsadm -Ln; ipvsadm -C"
    code, out, err = client.call(lab, "server-1", ["sh", "-c", script])
    assert (code, err) == (0, b"")
    assert b"203.0.113.2:80 mh" in out


def test_an_unknown_host_is_named_with_those_that_there_are(lab):
    with pytest.raises(errors.PlaceError, match=r"no host named 'server-9'.*server-1"):
        client.call(lab, "server-9", ["true"])


# --- the responder


def get(lab, url, *options, host="client"):
    return client.call(lab, host, ["curl", "-s", "-m", "10", *options, url])


def test_the_responder_tells_who_served_whom_from_where(lab):
    for port in (80, 443, 8080):
        out = get(lab, f"http://203.0.113.4:{port}/")[1]
        assert out == b"server-2 198.51.100.10 203.0.113.4\n"
    out = get(lab, "http://203.0.113.5/", "--interface", "198.51.100.73")[1]
    assert out == b"server-3 198.51.100.73 203.0.113.5\n"
    out = get(lab, "http://203.0.113.5/json", host="neighbour")[1]
    assert json.loads(out)["client"] == "203.0.113.10"


def test_the_responder_sends_bytes_and_paces_them(lab):
    script = "curl -s 203.0.113.4/bytes/3000000 | wc -c"
    assert client.call(lab, "client", ["sh", "-c", script])[1] == b"3000000\n"
    out = get(lab, "203.0.113.4/bytes/20000?rate=20000", "-w", "%{time_total}", "-o", "/dev/null")
    assert float(out[1]) > 0.9
    assert get(lab, "203.0.113.4/bytes/0", "-w", "%{http_code}")[1] == b"200"


def test_the_responder_goes_on_whatever_it_is_told(lab):
    for text in (
        "\0\n\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET /bytes/x/y HTTP/1.0\r\n\r\n",
        "A" * 99999,
        "GET /bytes/90000?rate=9 HTTP/1.1\r\n\r\n",  # answered over time to a half closed end
    ):
        script = "import socket, sys; s = socket.create_connection(('203.0.113.4', 80), 5)\n"
        script += (
            f"s.sendall({text!r}.encode()); s.shutdown(1)\ntry: s.recv(99)\nexcept OSError: pass"
        )
        client.call(lab, "client", ["python3", "-I", "-c", script])
    assert get(lab, "203.0.113.4/")[0] == 0


ASK_UDP = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5)
s.connect((sys.argv[1], 53)); s.send(b'?'); sys.stdout.write(s.recv(999).decode())
"""


def test_the_arp_problem_appears_and_silence_cures_it(lab):
    vip, answers = "203.0.113.2", []
    balance = f"ip address add {vip}/32 dev eth0; ipvsadm -A -t {vip}:80 -s rr;"
    for real in ("203.0.113.4", "203.0.113.5"):
        balance += f"ipvsadm -a -t {vip}:80 -r {real} -g;"
    client.call(lab, "server-1", ["sh", "-c", f"{balance} echo 1 > /proc/sys/net/ipv4/ip_forward"])
    hold = f"ip link add eth-vip type dummy; ip link set eth-vip up; ip address add {vip}/32 dev"
    for state in (0, 1):
        sysctls = f"net.ipv4.conf.all.arp_ignore={state} net.ipv4.conf.all.arp_announce={2 * state}"
        for host in ("server-2", "server-3"):
            script = f"ip link del eth-vip; sysctl -qw {sysctls}; {hold} eth-vip"
            client.call(lab, host, ["sh", "-c", script])
        for host in ("router", "server-1", "server-2", "server-3"):
            client.call(lab, host, ["ip", "neigh", "flush", "all"])
        answers.append({get(lab, f"{vip}/")[1].split()[0] for _ in range(4)})
    restore = f"ipvsadm -C; ip address del {vip}/32 dev eth0; sysctl -qw net.ipv4.ip_forward=0"
    client.call(lab, "server-1", ["sh", "-c", restore])
    for host in ("server-2", "server-3"):
        client.call(lab, host, ["ip", "link", "del", "eth-vip"])
    assert len(answers[0]) == 1
    assert answers[1] == {b"server-2", b"server-3"}


def test_udp_is_answered_from_the_address_that_was_asked(lab):
    add = (
        "ip link add eth-vip type dummy && ip link set eth-vip up && ip address add 203.0.113.9/32"
    )
    client.call(lab, "server-2", ["sh", "-c", f"{add} dev eth-vip"])
    client.call(lab, "client", ["ip", "route", "add", "203.0.113.9", "via", "198.51.100.1"])
    client.call(lab, "router", ["ip", "route", "add", "203.0.113.9", "via", "203.0.113.4"])
    out = client.call(lab, "client", ["python3", "-I", "-c", ASK_UDP, "203.0.113.9"])
    client.call(lab, "server-2", ["ip", "link", "del", "eth-vip"])
    assert out == (0, b"server-2 198.51.100.10 203.0.113.9\n", b"")


def test_the_responder_can_be_killed_and_listen_on_one_address(lab):
    assert client.call(lab, "server-3", ["sh", "-c", RESPONDER_ENDS])[0] == 0
    assert eventually(lambda: get(lab, "203.0.113.5/")[0] == 7)
    on_its_own = f"{RESPONDER_STARTS} --bind 203.0.113.5"
    assert client.call(lab, "server-3", ["sh", "-c", on_its_own])[0] == 0
    assert get(lab, "203.0.113.5/")[0] == 0
    out = client.call(lab, "server-3", ["ss", "-Hltn", "sport = :80"])[1]
    assert b"203.0.113.5:80" in out
    assert b"0.0.0.0:80" not in out
    assert client.call(lab, "server-3", ["sh", "-c", RESPONDER])[0] == 0
    assert get(lab, "203.0.113.5/")[0] == 0


# --- port security


def test_port_security_drops_foreign_addresses_and_lets_pairs_through(lab):
    spoof = ["curl", "-s", "-m", "1", "--interface", "203.0.113.20", "203.0.113.4"]
    client.call(lab, "neighbour", ["ip", "address", "add", "203.0.113.20/27", "dev", "eth0"])
    try:
        assert client.call(lab, "neighbour", spoof)[0] == 0
        security.port_security(lab, {})
        client.call(lab, "server-2", ["ip", "neigh", "flush", "all"])
        assert client.call(lab, "neighbour", spoof)[0] == 28
        assert get(lab, "203.0.113.4")[0] == 0
        for pairs in ({"neighbour": ["203.0.113.20/32"]}, {"neighbour": ["0.0.0.0/0"]}, None):
            security.port_security(lab, pairs)
            assert client.call(lab, "neighbour", spoof)[0] == 0
    finally:
        security.port_security(lab, None)
        client.call(lab, "neighbour", ["ip", "address", "del", "203.0.113.20/27", "dev", "eth0"])


# --- up and down


def test_up_of_a_running_lab_returns_it(lab):
    again = client.up(lab)
    assert again.already
    assert again.pid == client.info(lab).pid
    assert lab in client.names()


def test_two_labs_stand_side_by_side_and_down_leaves_nothing(lab, second):
    info = client.up(second)
    members = family(info.pid)
    assert len(members) > 1
    client.call(second, "server-1", ["touch", "/run/only-here"])
    assert client.call(lab, "server-1", ["test", "-e", "/run/only-here"])[0] == 1
    client.call(lab, "server-2", ["sh", "-c", "sleep 1000 &"])
    begun = time.monotonic()
    assert client.down(second)
    print(f"\ndown: {time.monotonic() - begun:.2f} s")
    assert not left_of(members)
    assert not Path(info.directory).exists()
    assert second not in client.names()
    assert client.call(lab, "server-1", ["true"])[0] == 0
    assert not client.down(second)


def test_a_killed_controller_takes_everything_along_and_the_name_is_free(second):
    info = client.up(second)
    members = family(info.pid)
    running = start(second, "server-1", "sleep", "1000")
    os.kill(info.pid, signal.SIGKILL)
    assert eventually(lambda: not left_of(members)), left_of(members)
    running.communicate(timeout=20)
    assert running.returncode != 0
    with pytest.raises(errors.Unreachable, match="is not running; start it with: onearm lab up"):
        client.call(second, "server-1", ["true"])
    assert client.up(second).pid != info.pid
    assert client.call(second, "server-1", ["true"])[0] == 0


def test_a_guest_is_on_one_cpu_of_the_machine_at_a_time(lab):
    """With all its processes, for where they wake each other over two everything costs twice."""
    info = client.info(lab)
    cpus = 1 if info.backend == "uml" else len(os.sched_getaffinity(0))
    (child,) = [pid for pid, (parent, _) in processes().items() if parent == info.pid]
    assert eventually(lambda: {len(seat) for seat in seats(child)} == {cpus})
    assert eventually(lambda: len(set(seats(child))) == 1)


def seats(pid):
    """Name the CPUs that each process of a guest may have; one that just ended has none."""
    for member, _ in family(pid):
        with contextlib.suppress(ProcessLookupError):
            yield frozenset(os.sched_getaffinity(member))


def test_a_guest_that_takes_no_signal_does_not_outlive_its_controller(second):
    """One that is stopped stands for one that caught the signal and came to nothing."""
    info = client.up(second)
    members = family(info.pid)
    (child,) = [pid for pid, (parent, _) in processes().items() if parent == info.pid]
    os.kill(child, signal.SIGSTOP)
    os.kill(info.pid, signal.SIGKILL)
    assert eventually(lambda: not left_of(members)), left_of(members)


def test_a_dead_guest_or_agent_ends_the_lab(second):
    info = client.up(second)
    members = family(info.pid)
    (child,) = [pid for pid, (parent, _) in processes().items() if parent == info.pid]
    os.kill(child, signal.SIGKILL)
    assert eventually(lambda: not left_of(members)), left_of(members)
    assert not Path(info.directory).exists()


@pytest.mark.parametrize("name", ["", "..", "a/b", "-x", "x" * 64, "a b", "ü"])
def test_what_is_no_name_is_refused(name, monkeypatch):
    monkeypatch.setenv("ONEARM_LAB", "/")
    with pytest.raises(errors.UsageError, match="cannot name a lab"):
        client.up(name)


def test_a_directory_of_somebody_else_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(paths.os, "getuid", lambda: NOBODY)
    with pytest.raises(errors.Denied, match="belongs to somebody else"):
        paths.private(tmp_path / "lab" / "x")


def test_a_machine_without_the_guest_kernel_says_what_to_install(second, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("ONEARM_LAB_BACKEND", "uml")
    with pytest.raises(errors.Missing, match="install user-mode-linux"):
        client.up(second)
    assert not paths.lab_directory(second).exists()


UP_AND_USE = (
    PREAMBLE
    + """
info = client.up('inner')
print(info.backend, info.why, info.boot_s, file=sys.stderr)
other = client.up('other')
calls = [client.call(name, 'client', ['curl', '-s', '-m', '5', '203.0.113.4'])[1].decode()
         for name in ('inner', 'other')]
client.down('other')
print(calls, info.backend, client.names(), client.down('inner'), client.names())
"""
)


def test_the_native_back_end_on_a_kernel_with_ip_vs(lab):
    """The guest's kernel has all that is needed, so it stands for such a machine."""
    code, out, err = client.call(lab, "-", ["/usr/bin/python3", "-I", "-c", UP_AND_USE])
    print(f"\n{err.decode()}")
    line = "server-2 198.51.100.10 203.0.113.4\n"
    assert (code, out.decode()) == (0, f"{[line, line]} native ['inner'] True []\n"), err.decode()
    left = client.call(lab, "-", ["ps", "axo", "args"])[1].decode()
    assert "agent native" not in left
    assert "controller" not in left


def test_a_user_without_any_right_can_have_a_lab():
    own = Path(tempfile.mkdtemp(prefix="lt-"))
    try:
        shutil.copytree(SOURCE / "onearm", own / "src/onearm")
        script = UP_AND_USE.replace(str(SOURCE), str(own / "src"))
        prefix = ["env", "-i", f"HOME={own}", "PATH=/usr/bin:/bin:/usr/sbin:/sbin"]
        if not os.getuid():
            shutil.chown(own, NOBODY, NOBODY)
            own.chmod(0o755)
            rights = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
            prefix = ["setpriv", *rights, *prefix]
        argv = [*prefix, "/usr/bin/python3", "-I", "-c", script]
        done = subprocess.run(argv, capture_output=True, timeout=60, cwd="/")
        line = "server-2 198.51.100.10 203.0.113.4\n"
        wanted = f"{[line, line]} uml ['inner'] True []\n"
        assert (done.returncode, done.stdout.decode()) == (0, wanted), done.stderr.decode()
    finally:
        shutil.rmtree(own)
        shutil.rmtree(f"/tmp/onearm-{NOBODY}", ignore_errors=True)  # noqa: S108 - where it lives


# --- a second director


def test_a_second_director_is_made_only_where_it_is_asked_for(lab, second):
    with pytest.raises(errors.PlaceError, match="has no host named 'server-4'"):
        client.call(lab, network.SECOND_DIRECTOR, ["true"])
    with pytest.raises(errors.UsageError, match="runs already, without server-4; end it first"):
        client.up(lab, (network.SECOND_DIRECTOR,))
    found = client.up(second, (network.SECOND_DIRECTOR,))
    assert found.hosts == (*network.HOSTS, network.SECOND_DIRECTOR)
    assert client.up(second, (network.SECOND_DIRECTOR,)).already
    answered = execute(second, "server-4", "curl", "-sm5", "http://203.0.113.5/")
    assert answered.stdout == b"server-3 203.0.113.6 203.0.113.5\n"


def test_a_lab_that_an_older_onearm_started_can_still_be_asked_and_ended():
    fields = [field for field in client.LabInfo._fields if field not in {"hosts", "already"}]
    assert client._info(dict.fromkeys(fields, "as it was")).hosts == ()
