"""The command line: parse arguments, call, print. What each command does stands in its module."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import traceback
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import click

from onearm import collector
from onearm.errors import OnearmError, UsageError

BUG = 1
INTERRUPTED = 130


class Lines(click.Group):
    """The command group; keeps the commands in the order of their use."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """List commands as they were added."""
        return list(self.commands)


def _version(context: click.Context, _option: click.Parameter, wanted: bool) -> None:  # noqa: FBT001 - click's way
    from onearm import version

    if wanted:
        click.echo(version.words())
        context.exit()


@click.group(cls=Lines, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="Show the version and the commit that it was built from, and exit.",
)
@click.option("-v", "--verbose", is_flag=True, help="Log what is asked of hosts, on stderr.")
def main(*, verbose: bool) -> None:
    """Direct-routing load balancing for OpenStack: requests in through one arm, replies straight
    back.

    Exit codes: 0 fine, 1 a bug of ours, 2 usage or spec error, 3 refused as unsafe, 4 a place could
    not be reached or refused, 5 it differs.
    """
    if verbose:
        import logging

        logging.basicConfig(level=logging.DEBUG, format="%(message)s", stream=sys.stderr)


SPEC = click.argument("spec", type=click.Path(path_type=Path))
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object, nothing else.")
CLIENTS = click.option(
    "--client",
    "clients",
    multiple=True,
    metavar="PREFIX",
    help="Command prefix that reaches a client, quoted as for a shell; default: this machine.",
)
YES = click.option("--yes", is_flag=True, help="Do not ask.")


@main.command()
@SPEC
@click.option("--commands", is_flag=True, help="Print the well-known commands instead.")
@click.option(
    "--as-admin", is_flag=True, help="Print only the commands that the cloud would not let you do."
)
@click.option("--check", is_flag=True, help="Exit 5 if anything would change.")
@click.option("-o", "output", type=click.Path(path_type=Path), help="Keep the plan in a file.")
@JSON
def plan(
    *,
    spec: Path,
    commands: bool,
    as_admin: bool,
    check: bool,
    output: Path | None,
    as_json: bool,
) -> int:
    """Show what would change, in order, per place; change nothing."""
    from onearm.operate import plan_command

    return plan_command(
        spec,
        commands=commands,
        as_admin=as_admin,
        check=check,
        output=output,
        as_json=as_json,
    )


@main.command()
@click.argument("spec", metavar="SPEC|PLANFILE", type=click.Path(path_type=Path))
@YES
@click.option("--adopt", is_flag=True, help="Take over what stands there and is not ours.")
@click.option("--limit", multiple=True, metavar="HOST", help="Only these hosts; the rest is out.")
@click.option(
    "--reach-from",
    type=click.Path(path_type=Path),
    metavar="SPEC",
    help="For a plan file: how hosts are reached, from this spec.",
)
@JSON
def apply(
    *,
    spec: Path,
    yes: bool,
    adopt: bool,
    limit: tuple[str, ...],
    reach_from: Path | None,
    as_json: bool,
) -> int:
    """Apply the plan that is shown, look again, say what is left; twice is as once."""
    from onearm.operate import apply_command

    return apply_command(
        spec, yes=yes, adopt=adopt, limit=limit, reach_from=reach_from, as_json=as_json
    )


@main.command()
@SPEC
@YES
@JSON
def destroy(*, spec: Path, yes: bool, as_json: bool) -> int:
    """Take down all that is ours, in reverse order."""
    from onearm.operate import destroy_command

    return destroy_command(spec, yes=yes, as_json=as_json)


@main.command()
@SPEC
@click.option("--host", metavar="NAME", help="Which director this host is; default: by its name.")
@click.option("--adopt", is_flag=True, help="Take over what stands there and is not ours.")
@click.option("--withdraw", is_flag=True, help="Give the VIP up when told to end.")
@click.option("--listen", metavar="ADDRESS:PORT", help="Serve the page and /metrics there.")
@click.option(
    "--web-name",
    "web_names",
    multiple=True,
    metavar="NAME",
    help="A name by which browsers may ask for the page, beside addresses.",
)
@click.option(
    "--metrics-file", type=click.Path(path_type=Path), help="Write the metrics there, too."
)
@click.option(
    "--log-format",
    type=click.Choice(("text", "json")),
    default="text",
    show_default=True,
    help="One line per event on stderr.",
)
@click.pass_context
def director(context: click.Context, /, *, spec: Path, log_format: str, **options: Any) -> int:
    """Run on a director for years: keep its kernel as SPEC says, with those that are healthy."""
    import signal

    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it reads the spec anyway, as soon as it is up
    from onearm import log
    from onearm.daemon.command import Options, director_command

    log.begin(log_format, verbose=context.find_root().params["verbose"])
    return director_command(spec, Options(**options))


NAME = click.option("--name", metavar="N", help="The daemon of this host that has that name.")


@main.command()
@click.argument("spec", type=click.Path(path_type=Path), required=False)
@click.option("--watch", is_flag=True, help="Show it live, with keys to drain; q ends it.")
@NAME
@JSON
def status(*, spec: Path | None, watch: bool, name: str | None, as_json: bool) -> int:
    """Show services, real servers, health, weights, connections, rates, and who holds the VIP.

    Without SPEC: what the director's daemon on this host shows, which anybody may see.
    """
    from onearm.status import status_command

    return status_command(spec, name=name, watching=watch, as_json=as_json)


AT = click.option(
    "--spec",
    type=click.Path(path_type=Path),
    metavar="SPEC",
    help="The daemons on this spec's directors; default: the daemon of this host.",
)


@main.command()
@click.argument("host")
@click.option("--deadline", metavar="TIME", help="When what is left is cut (30s, 5m, 1h).")
@click.option("--no-wait", is_flag=True, help="Do not wait for the end of its connections.")
@NAME
@AT
def drain(
    *, host: str, deadline: str | None, no_wait: bool, name: str | None, spec: Path | None
) -> int:
    """Take a real server out of rotation: no new connections, and the present ones may end.

    It stays drained, whatever its health and over restarts, until `onearm undrain`.
    """
    from onearm.draining import Whom, drain_command

    return drain_command(host, Whom(name, spec), deadline=deadline, wait=not no_wait)


@main.command()
@click.argument("host")
@NAME
@AT
def undrain(*, host: str, name: str | None, spec: Path | None) -> int:
    """Let a real server that was drained serve again."""
    from onearm.draining import Whom, undrain_command

    return undrain_command(host, Whom(name, spec))


@main.command()
@SPEC
@click.option("--vip", metavar="ADDRESS", help="Only those of this VIP.")
@click.option("--client", metavar="PREFIX", help="Only from there: an address, or 198.51.100.0/24.")
@click.option("--service", metavar="VIP:PORT/PROTOCOL", help="Only those of this service.")
@click.option("--state", metavar="STATE", help="Only in this state, as the kernel writes it.")
@click.option("--all", "every", is_flag=True, help="Of services that are not in the spec, too.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    metavar="N",
    help="Show so many at most, and count all; default 20, with --json no limit.",
)
@JSON
def connections(*, spec: Path, as_json: bool, **options: Any) -> int:
    """Show the connections in the directors' kernels, and how many there are, by state and real
    server.
    """
    from onearm.connections import Asked, connections_command

    return connections_command(spec, Asked(**options), as_json=as_json)


@main.command()
@SPEC
@click.option(
    "--cold/--warm",
    default=None,
    help="First forget learned neighbours (ARP) on the hosts reached; the default in the lab.",
)
@click.option("--strict", is_flag=True, help="Exit 5 when anything is unproved, too.")
@CLIENTS
@JSON
def verify(
    *, spec: Path, cold: bool | None, strict: bool, clients: tuple[str, ...], as_json: bool
) -> int:
    """Prove by real traffic that it works, each property with its evidence."""
    from onearm.report import verify_command

    return verify_command(spec, cold=cold, strict=strict, clients=clients, as_json=as_json)


@main.command()
@SPEC
@click.option("--passive", is_flag=True, help="Send nothing: only look.")
@CLIENTS
@click.option("--fix", is_flag=True, help="Then apply the spec, where that cures something.")
@click.option("--yes", is_flag=True, help="With --fix: do not ask.")
@JSON
def doctor(
    *, spec: Path, passive: bool, clients: tuple[str, ...], fix: bool, yes: bool, as_json: bool
) -> int:
    """Name what is wrong, where, why, and the cure; change nothing."""
    from onearm.doctor.command import doctor_command

    return doctor_command(spec, passive=passive, clients=clients, as_json=as_json, fix=fix, yes=yes)


@main.command()
@SPEC
@click.option("--service", metavar="VIP:PORT/PROTOCOL", help="Which one, if there are several.")
@CLIENTS
@click.option("--via", metavar="HOST", help="Try until this real server was hit, in bounds.")
@click.option(
    "--request",
    metavar="TEXT",
    help="What to send; \\r and \\n are escapes. Default: in the lab only.",
)
@JSON
def trace(
    *,
    spec: Path,
    service: str | None,
    clients: tuple[str, ...],
    via: str | None,
    request: str | None,
    as_json: bool,
) -> int:
    """Follow one connection through every host; say where it is missing."""
    from onearm.trace import trace_command

    return trace_command(
        spec, service=service, clients=clients, via=via, request=request, as_json=as_json
    )


@main.command(name="import")
@click.argument("tool", type=click.Choice(("ipvsadm", "keepalived", "ldirectord")))
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-o", "output", type=click.Path(path_type=Path), help="Write it there, a new file.")
@click.option(
    "--director",
    metavar="NAME=ADDRESS",
    help="The director's name and own address, or NAME=IPV4,IPV6; default: this host's name, and a"
    " place to fill in.",
)
@click.option(
    "--names",
    type=click.Path(path_type=Path),
    metavar="HOSTS",
    help="A file like /etc/hosts, for the real servers' names; default: made of addresses.",
)
@click.option(
    "--config-id",
    "identity",
    metavar="ID",
    help="What keepalived's @conditions mean (its -i); default: the director's name.",
)
def import_(*, tool: str, file: Path, **options: Any) -> int:
    """Write a spec of what another load balancer's FILE says (`ipvsadm -Sn`, keepalived.conf,
    ldirectord.cf).

    What a spec cannot say becomes a comment where it would stand, with the reason. Exit code 5 if
    clients would not be served as before.
    """
    from onearm.imports.command import Options, import_command

    return import_command(tool, file, Options(**options))


@main.command()
@SPEC
@click.option("--for", "host", required=True, metavar="HOST", help="Which host of the spec.")
@click.option(
    "--as",
    "form",
    required=True,
    type=click.Choice(("shell", "systemd", "cloud-init", "ansible", "heat")),
    help="For whom: a shell, systemd, or the tooling that makes your hosts.",
)
@click.option(
    "--link",
    "links",
    multiple=True,
    metavar="NAME",
    help="A link of that host, where its text needs one and cannot find it there itself.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="With --as systemd: write the files below this folder.",
)
def render(*, spec: Path, host: str, form: str, links: tuple[str, ...], output: Path | None) -> int:
    """Print what apply would do on one host, as text for other tooling. Nobody is reached."""
    from onearm.boot.command import render_command

    return render_command(spec, host=host, form=form, links=links, output=output)


@main.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Where to write it.",
)
def node(*, output: Path) -> int:
    """Write what runs on the hosts as one file, for `python3 FILE`; runs put it there themselves.

    The same sources and the same Python 3.x give the same bytes. `python3 FILE --help` says more.
    """
    from onearm import bundle

    digest, data = bundle.build()
    bundle.write(output, data)
    click.echo(f"{output}: build {digest}, {len(data)} bytes")
    return 0


@main.command()
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def completion(*, shell: str) -> int:
    """Print a script by which the shell completes onearm's commands, options and files.

    bash: `onearm completion bash > ~/.local/share/bash-completion/completions/onearm`.
    """
    from click import shell_completion

    found = shell_completion.get_completion_class(shell)
    if found is None:
        raise UsageError(f"this click has no completion for {shell}: use another shell")
    click.echo(found(main, {}, "onearm", "_ONEARM_COMPLETE").source())
    return 0


@main.group(cls=Lines)
def lab() -> None:
    """The reference network, with real IPVS, on this machine."""


LAB_NAME = click.option("--name", metavar="N", help="Which lab; default $ONEARM_LAB, then `lab`.")


@lab.command()
@LAB_NAME
@click.option("--cloud", is_flag=True, help="With a real Neutron, whose port security is enforced.")
@click.option(
    "--enforce",
    type=click.Choice(("emulated", "ovn")),
    default="emulated",
    show_default=True,
    help="How: by an emulation of the driver, or by ML2/OVN itself (slower).",
)
@click.option(
    "--firewall",
    type=click.Choice(("ovn", "openvswitch", "iptables_hybrid")),
    help="The driver that is emulated; default ovn.",
)
@click.option(
    "--compute",
    type=click.Choice(("apart", "together")),
    help="Director and real servers on different compute nodes (default), or on the same.",
)
@click.option("--second-director", is_flag=True, help="With server-4, 203.0.113.6, beside it.")
@click.option(
    "--remote-server",
    is_flag=True,
    help="With server-5, 192.0.2.5, behind the router.",
)
@JSON
def up(
    *,
    name: str | None,
    cloud: bool,
    enforce: str,
    firewall: str | None,
    compute: str | None,
    second_director: bool,
    remote_server: bool,
    as_json: bool,
) -> int:
    """Start a lab; return when it is ready."""
    if cloud and (second_director or remote_server):
        option = "--second-director" if second_director else "--remote-server"
        raise UsageError(f"{option} is for a lab without a cloud: leave --cloud out")
    if cloud:
        return _up_with_a_cloud(name, enforce, firewall, compute, as_json=as_json)
    if enforce != "emulated" or firewall or compute:
        raise UsageError("--enforce, --firewall and --compute say what a cloud does: add --cloud")
    from onearm.lab import client
    from onearm.lab.topology import REMOTE_SERVER, SECOND_DIRECTOR

    extra = ((SECOND_DIRECTOR, second_director), (REMOTE_SERVER, remote_server))
    info = client.up(name, tuple(host for host, wanted in extra if wanted))
    if as_json:
        print_json({"onearm": 1, "kind": "lab", **info._asdict()})
    else:
        click.echo(_ready(info))
    return 0


def _ready(info: Any) -> str:
    what = "was running already" if info.already else f"is ready after {info.boot_s:.1f} s"
    return f"lab {info.name} {what}: {info.backend}, kernel {info.kernel} ({info.why})"


def _up_with_a_cloud(
    name: str | None, enforce: str, firewall: str | None, compute: str | None, *, as_json: bool
) -> int:
    from onearm.lab.cloud import enforcement, start

    info, cloud = start.up(name, enforcement.wanted(enforce, firewall, compute))
    if as_json:
        print_json({"onearm": 1, "kind": "lab", **info._asdict(), "cloud": cloud._asdict()})
        return 0
    click.echo(_ready(info))
    how = "by OVN itself" if cloud.enforce == "ovn" else f"as {cloud.firewall} has it (emulated)"
    where = "one compute node" if cloud.compute == "together" else "different nodes"
    click.echo(
        f"its cloud answers at {cloud.url}; port security {how}, director and real servers on"
        f" {where}"
    )
    click.echo(f"clouds for the spec, or for --os-cloud: {', '.join(cloud.clouds)}; first run:")
    click.echo(f"  export OS_CLIENT_CONFIG_FILE={cloud.clouds_yaml}")
    return 0


@lab.command(
    name="exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
@LAB_NAME
@click.argument("host")
@click.argument("argv", nargs=-1, required=True)
def exec_(*, name: str | None, host: str, argv: tuple[str, ...]) -> int:
    """Run a command on a host of the lab; exit as it does."""
    from onearm.lab import client

    return client.exec_main(name, host, list(argv))


@lab.command()
@LAB_NAME
@click.option("--rate", default=100.0, show_default=True, help="New connections per second.")
@click.option("--transfers", default=20, show_default=True, help="Long transfers at any time.")
@click.option("--pace", default=50_000, show_default=True, help="Bytes per second of each.")
@click.option(
    "--length", default=1 << 40, help="Bytes of each, then another begins; default 1 TiB."
)
@click.option("--timeout", default=5.0, show_default=True, help="Seconds of silence that fail one.")
@click.option("--seconds", default=0.0, help="How long; default: until Ctrl-C.")
@click.option("--vip", default="203.0.113.2", show_default=True)
@click.option("--port", default=80, show_default=True, help="TCP.")
@click.option("--live", is_flag=True, help="With --json: one object per second and line, too.")
@JSON
def load(*, name: str | None, live: bool, as_json: bool, **wish: float | str) -> int:
    """Put a load on a virtual service, from the client; exit 5 if anything failed."""
    from onearm.lab import client, load

    return client.exec_main(name, "client", load.command(wish, live=live, as_json=as_json))


@lab.command()
@LAB_NAME
def down(*, name: str | None) -> int:
    """End a lab; nothing of it is left."""
    from onearm.lab import client

    client.down(name)
    return 0


@lab.command(name="list")
def list_() -> int:
    """List the labs that run."""
    from onearm.lab import client

    for name in client.names():
        click.echo(name)
    return 0


@lab.command()
@LAB_NAME
@click.argument("host")
@click.argument("port", type=click.IntRange(1, 65535))
@click.option(
    "--listen", type=click.IntRange(0, 65535), help="The port here; default: a free one is taken."
)
def forward(*, name: str | None, host: str, port: int, listen: int | None) -> int:
    """Make a TCP port of a lab host's loopback a port of this machine's, until Ctrl-C."""
    from onearm.lab.forward import forward_command

    return forward_command(name, host, port, listen or 0)


@lab.group(cls=Lines)
def fault() -> None:
    """Break the lab on purpose, to see it found."""


@fault.command(name="list")
@LAB_NAME
@JSON
def fault_list(*, name: str | None, as_json: bool) -> int:
    """List what can be broken, the finding that names it, and what is broken now."""
    from onearm.lab.faults import command
    from onearm.render import screen

    if as_json:
        print_json(command.as_object(name))
    else:
        command.show(screen(), name)
    return 0


@fault.command(name="add")
@LAB_NAME
@click.argument("identity", metavar="ID")
@click.argument("host", required=False)
def fault_add(*, name: str | None, identity: str, host: str | None) -> int:
    """Break one thing on one host of the lab."""
    from onearm.lab.faults import command, planted

    click.echo(command.planted_words(planted.add(name, identity, host)))
    return 0


@fault.command(name="clear")
@LAB_NAME
@click.argument("identity", metavar="[ID]", required=False)
def fault_clear(*, name: str | None, identity: str | None) -> int:
    """Mend what was broken, one fault or all, and bring back exactly what was there before."""
    from onearm.lab.faults import command, planted

    click.echo(command.cleared_words(planted.clear(name, identity)))
    return 0


def print_json(data: dict[str, Any]) -> None:
    """Print one object on stdout."""
    click.echo(json.dumps(data, indent=1))


class Patient:
    """An output whose reader may go away, as `head` does: the rest is then written to nobody.

    So a command that changes hosts goes on to its end, and its exit code stays true.
    """

    def __init__(self, stream: Any) -> None:
        """Write to `stream` as long as somebody reads."""
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        """Be the stream in all other things."""
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write some text."""
        with self._unread():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Write what is still held back."""
        with self._unread():
            self._stream.flush()

    @contextlib.contextmanager
    def _unread(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            nobody = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nobody, self._stream.fileno())
            os.close(nobody)


def run(argv: list[str]) -> int:
    """Run the command line and translate every error into a sentence and an exit code."""
    streams: Any = (sys.stdout, sys.stderr)
    patient: Any = tuple(map(Patient, streams))
    sys.stdout, sys.stderr = patient
    collector.patient()
    try:
        return _run(argv)
    finally:
        for stream in patient:
            stream.flush()
        sys.stdout, sys.stderr = streams


def _run(argv: list[str]) -> int:
    try:
        code = main.main(argv, prog_name="onearm", standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        return _told("interrupted", INTERRUPTED, argv)
    except click.ClickException as error:
        error.show()
        _as_object(error.format_message(), UsageError.exit_code, argv)
        return UsageError.exit_code
    except OnearmError as error:
        if type(error) is OnearmError:
            return _bug(error, argv)
        return _told(str(error), error.exit_code, argv)
    except Exception as error:  # noqa: BLE001 - nobody sees a traceback
        return _bug(error, argv)
    return code if isinstance(code, int) else 0


def _told(text: str, code: int, argv: list[str]) -> int:
    click.echo(f"onearm: {text}", err=True)
    _as_object(text, code, argv)
    return code


def _as_object(text: str, code: int, argv: list[str]) -> None:
    """Print an error as the one object, where an object was asked for."""
    if "--json" in argv[: argv.index("--") if "--" in argv else None]:
        print_json({"onearm": 1, "kind": "error", "error": text, "exit_code": code})


def _bug(error: Exception, argv: list[str]) -> int:
    """Keep the traceback in a file; ask for a report."""
    said = next(iter(str(error).splitlines()), "")
    what = f"{type(error).__name__}: {said}"
    sentence = f"this is a bug of onearm ({what}); {_kept(error)}: please report it"
    return _told("".join(c if c.isprintable() else "?" for c in sentence), BUG, argv)


def _kept(error: Exception) -> str:
    stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    text = "".join(traceback.format_exception(error))
    try:
        state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
        file = state / "onearm" / f"traceback-{stamp}-{os.getpid()}.txt"
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8", errors="backslashreplace")
    except (OSError, RuntimeError):  # RuntimeError: nobody's home is known
        return "its traceback could not be kept"
    return f"the traceback is in {file}"
