"""Commands in a host: started on request, their pipes carried as frames, their end reported."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
from collections.abc import Callable

from onearm.lab.frames import CHUNK, GRANT, WINDOW, Frame, Kind
from onearm.lab.loop import Loop

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
}
NOT_FOUND = 127  # as shells say it
NOT_EXECUTABLE = 126
SIGNALLED = 128
Send = Callable[[int, int, bytes], None]


def exit_code(status: int) -> int:
    """Return the code that a shell would give for a wait status."""
    code = os.waitstatus_to_exitcode(status)
    return SIGNALLED - code if code < 0 else code


class Output:
    """One pipe that a command writes into; `credit` is what its reader still takes."""

    def __init__(self, fd: int, kind: int) -> None:
        """Own the reading end."""
        os.set_blocking(fd, False)
        self.fd = fd
        self.kind = kind
        self.credit = WINDOW
        self.open = True
        self.dry = False  # once the command is reaped: all that it had written is read

    def read(self) -> bytes | None:
        """Read what is there: None for nothing yet, empty for the end."""
        try:
            return os.read(self.fd, min(CHUNK, self.credit))
        except BlockingIOError:
            return None


class Command:
    """One running command."""

    def __init__(self, stream: int, pid: int, stdin: int, outputs: list[Output]) -> None:
        """Own the parent's ends of the three pipes."""
        os.set_blocking(stdin, False)
        self.stream = stream
        self.pid = pid
        self.stdin = stdin
        self.stdin_open = True
        self.stdin_ended = False
        self.waiting = bytearray()
        self.outputs = {output.kind: output for output in outputs}
        self.status: int | None = None

    def kill(self, number: int) -> None:
        """Signal the whole group; a reaped command's number may be somebody else's by now."""
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)


class Execs:
    """All commands of one host."""

    def __init__(self, loop: Loop, name: str, send: Send) -> None:
        """Serve on this loop, answering through `send`."""
        self.loop = loop
        self.name = name
        self.send = send
        self.commands: dict[int, Command] = {}

    def take(self, frame: Frame) -> None:
        """Do what one frame asks."""
        if frame.kind == Kind.OPEN:
            self.start(frame)
        elif frame.stream in self.commands:
            TAKE[Kind(frame.kind)](self, self.commands[frame.stream], frame.payload)

    def start(self, frame: Frame) -> None:
        _, term, *argv = frame.payload.split(b"\0")
        pipes = [os.pipe() for _ in range(3)]
        reads, writes = [pipe[0] for pipe in pipes], [pipe[1] for pipe in pipes]
        try:
            pid = _spawn(argv, term, (reads[0], writes[1], writes[2]))
        except OSError as error:
            _close(writes[0], reads[1], reads[2])
            self._not_started(frame.stream, argv, error)
            return
        finally:
            _close(reads[0], writes[1], writes[2])
        outputs = [Output(reads[1], Kind.STDOUT), Output(reads[2], Kind.STDERR)]
        command = Command(frame.stream, pid, writes[0], outputs)
        self.commands[frame.stream] = command
        for output in outputs:
            self._watch(command, output)

    def _not_started(self, stream: int, argv: list[bytes], error: OSError) -> None:
        text = f"{self.name}: {os.fsdecode(argv[0])}: {error.strerror}\n"
        self.send(stream, Kind.STDERR, text.encode(errors="surrogateescape"))
        missing = isinstance(error, (FileNotFoundError, NotADirectoryError))
        self.send(stream, Kind.EXIT, bytes([NOT_FOUND if missing else NOT_EXECUTABLE]))

    # --- stdin

    def put(self, command: Command, data: bytes) -> None:
        """Keep data for the command's stdin; no data is the end of it."""
        command.stdin_ended = command.stdin_ended or not data
        command.waiting += data
        self._feed(command)

    def _feed(self, command: Command) -> None:
        if not command.stdin_open:
            return
        try:
            sent = os.write(command.stdin, command.waiting) if command.waiting else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            self._close_stdin(command)
            self.send(command.stream, Kind.SHUT, bytes([Kind.STDIN]))
            return
        if sent:
            del command.waiting[:sent]
            self.send(command.stream, Kind.GRANT, GRANT.pack(Kind.STDIN, sent))
        self._wait_for_room(command)

    def _wait_for_room(self, command: Command) -> None:
        if command.waiting:
            if not self.loop.watched(command.stdin):
                feed = lambda: self._feed(command)  # noqa: E731 - a name for the callback
                self.loop.watch(command.stdin, selectors.EVENT_WRITE, feed)
        elif command.stdin_ended:
            self._close_stdin(command)
        else:
            self.loop.unwatch(command.stdin)

    def _close_stdin(self, command: Command) -> None:
        if command.stdin_open:
            self.loop.unwatch(command.stdin)
            os.close(command.stdin)
            command.stdin_open = False
            command.waiting.clear()

    # --- stdout and stderr

    def _watch(self, command: Command, output: Output) -> None:
        if output.open and not self.loop.watched(output.fd):
            ready = lambda: self._relay(command, output)  # noqa: E731 - a name for the callback
            self.loop.watch(output.fd, selectors.EVENT_READ, ready)

    def _relay(self, command: Command, output: Output) -> bool:
        """Pass one portion on; True while more may be there."""
        if not output.credit:
            self.loop.unwatch(output.fd)
            return False
        data = output.read()
        if data:
            output.credit -= len(data)
            self.send(command.stream, output.kind, data)
            return True
        if data is None:
            output.dry = command.status is not None
        else:
            self._close_output(output)
        return False

    def _close_output(self, output: Output) -> None:
        if output.open:
            self.loop.unwatch(output.fd)
            os.close(output.fd)
            output.open = False

    def grant(self, command: Command, payload: bytes) -> None:
        """Take more of a pipe: its reader has room again."""
        kind, count = GRANT.unpack(payload)
        output = command.outputs[kind]
        output.credit += count
        self._watch(command, output)
        self._finish(command)

    def shut(self, command: Command, payload: bytes) -> None:
        """Close a pipe that nobody reads: the command gets SIGPIPE, as it would here."""
        self._close_output(command.outputs[payload[0]])

    # --- the end

    def signal(self, command: Command, payload: bytes) -> None:
        command.kill(payload[0])

    def gone(self, command: Command, _payload: bytes) -> None:
        """Hang up on a command whose caller is dead."""
        del self.commands[command.stream]
        self._close_stdin(command)
        for output in command.outputs.values():
            self._close_output(output)
        command.kill(signal.SIGHUP)
        command.kill(signal.SIGCONT)

    def reap(self) -> None:
        """Collect every dead child; those that are not commands are orphans of commands."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                for command in [c for c in self.commands.values() if c.pid == pid]:
                    command.status = status
                    self._close_stdin(command)
                    self._finish(command)

    def _finish(self, command: Command) -> None:
        """Report the end once everything that the command itself wrote is passed on."""
        if command.status is None or command.stream not in self.commands:
            return
        for output in command.outputs.values():
            while output.open and not output.dry and self._relay(command, output):
                pass
        if all(output.dry or not output.open for output in command.outputs.values()):
            self.send(command.stream, Kind.EXIT, bytes([exit_code(command.status)]))
            del self.commands[command.stream]
            for output in command.outputs.values():
                self._discard(output)

    def _discard(self, output: Output) -> None:
        """What the command left running may go on writing: it is read and thrown away."""
        if not output.open:
            return
        self.loop.unwatch(output.fd)
        output.credit = CHUNK

        def ready() -> None:
            if output.read() == b"":
                self._close_output(output)

        self.loop.watch(output.fd, selectors.EVENT_READ, ready)


TAKE: dict[Kind, Callable[[Execs, Command, bytes], None]] = {
    Kind.STDIN: Execs.put,
    Kind.GRANT: Execs.grant,
    Kind.SHUT: Execs.shut,
    Kind.SIGNAL: Execs.signal,
    Kind.GONE: Execs.gone,
}


def _spawn(argv: list[bytes], term: bytes, pipes: tuple[int, int, int]) -> int:
    """Start a command as leader of its own session and group, with no signal ignored."""
    environment = {**ENVIRONMENT, "TERM": term.decode("ascii", "replace") or "dumb"}
    return os.posix_spawnp(
        argv[0],
        argv,
        environment,
        file_actions=[(os.POSIX_SPAWN_DUP2, pipe, fd) for fd, pipe in enumerate(pipes)],
        setsid=True,
        setsigmask=[],
        setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
    )


def _close(*fds: int) -> None:
    for fd in fds:
        os.close(fd)
