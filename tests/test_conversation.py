"""A host may say anything at all: the operator gets a reply or one clear sentence, in time."""

import pytest

from onearm import wire
from onearm.errors import OnearmError, PlaceError, Unreachable, UsageError
from onearm.places import child
from onearm.places.conversation import FOREIGN_LIMIT, Conversation
from prefixes import Liar, open_files

DEADLINE_S = 15.0


@pytest.fixture(autouse=True)
def _no_grace(monkeypatch):
    monkeypatch.setattr(child, "GRACE_S", 0.05)


def ask(liar, part=lambda _: None, rows=(), deadline_s=DEADLINE_S, request=None):
    conversation = Conversation("server-1", liar.prefix, deadline_s)
    try:
        return conversation.ask(request or {"do": "x"}, rows, part)
    finally:
        conversation.close()
        conversation.close()


def test_a_reply_with_parts(tmp_path):
    liar = Liar(tmp_path, "hello(); asked(); say(part=[1]); say(part=[2]); say(ok={'a': 1})")
    parts = []
    before = open_files()
    assert ask(liar, parts.append) == {"a": 1}
    assert parts == [[1], [2]]
    assert not liar.left()
    assert open_files() == before


def test_foreign_lines_before_the_hello_are_skipped(tmp_path):
    banner = (
        "raw(b'Welcome to \\xff\\x1b[2J\\n' + b'{\"onearm\": 1}\\n[]\\n' + b'x' * 60000 + b'\\n')"
    )
    liar = Liar(tmp_path, banner + "\nhello(); asked(); say(ok=7)")
    assert ask(liar) == 7


@pytest.mark.parametrize(
    "lump", ["b'x' * 200000", "b'banner\\n' * 20000", "b'[' * 65536 + b'\\n' * 2"]
)
def test_too_much_before_the_hello_is_refused(tmp_path, lump):
    assert FOREIGN_LIMIT == 65536
    liar = Liar(tmp_path, f"raw({lump})\nhello()\nasked()\nsay(ok=1)")
    with pytest.raises(Unreachable, match=r"^server-1: it says much, but no hello of ours"):
        ask(liar)
    assert not liar.left()


LIES = {  # what the host does: the body of its program, and what the operator is told
    "garbage": ("hello(); asked(); raw(b'\\x00\\xff\\xfe garbage\\n')", "a line of JSON"),
    "a list": ("hello(); asked(); raw(b'[1]\\n')", "a JSON object"),
    "an endless line": (
        "hello(); asked()\nwhile True: os.write(1, b'x' * 65536)",
        "a line of over 1048576 bytes",
    ),
    "deep nesting": ("hello(); asked(); raw(b'[' * 100000 + b'\\n')", "a line of JSON"),
    "deep parts": ("hello(); asked(); raw(b'{\"part\":' + b'[' * 900 + b']' * 900 + b'}\\n')", ""),
    "a huge number": ("hello(); asked(); raw(b'{\"ok\":' + b'9' * 9999 + b'}\\n')", "line of JSON"),
    "an empty object": ("hello(); asked(); say()", "neither a reply nor an error"),
    "an error of another shape": ("hello(); asked(); say(error=[1])", "neither a reply nor"),
    "an error without a text": ("hello(); asked(); say(error={'kind': 'bug'})", "neither a reply"),
    "an error of an unknown kind": ("hello(); asked(); say(error={'kind': 7, 'text': 'no'})", "no"),
    "an exit code of its choice": (
        "hello(); asked(); say(error={'kind': 'SpecError', 'text': 'no'})",
        "server-1: no",
    ),
    "a refusal in our name": (
        "hello(); asked(); say(error={'kind': 'Refused', 'text': 'no'})",
        "server-1: no",
    ),
    "a part for a request that has none": ("hello(); asked(); say(part=[])", "where none belongs"),
    "another build": ("say(onearm=1, kind='hello', build='0' * 64)", "is not what its name says"),
    "no build": ("say(onearm=1, kind='hello')", "is not what its name says"),
    "dies mid-reply": ("hello(); asked(); say(part=1); sys.exit(9)", "ended with code 9"),
    "half a line": ("hello(); asked(); raw(b'{\"ok\"')", "ended with code 0"),
    "is killed": ("hello(); asked(); os.kill(os.getpid(), 9)", "ended with code -9"),
    "command not found": (
        "print('bash: python3: command not found', file=sys.stderr); sys.exit(127)",
        "ended with code 127: bash: python3: command not found",
    ),
    "ssh cannot": (
        "print('ssh: connect to host x: refused', file=sys.stderr); sys.exit(255)",
        "ended with code 255: ssh: connect to host x: refused",
    ),
    "terminal escapes on stderr": (
        "os.write(2, b'\\x1b]0;owned\\x07\\x1b[2J\\r\\nno\\xff'); sys.exit(255)",
        "code 255: ?]0;owned??[2J no",
    ),
    "terminal escapes in an error": (
        "hello(); asked(); say(error={'kind': 'Denied', 'text': '\\x1b[2J\\u202eno'})",
        "server-1: ??no".replace("??", "?[2J?"),
    ),
}


def no_part(_data):
    raise wire.WireError("the node sent a part where none belongs")


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_one_sentence(tmp_path, lie):
    body, said = LIES[lie]
    liar = Liar(tmp_path, body)
    before = open_files()
    part = no_part if "none" in lie else lambda _: None
    with pytest.raises(PlaceError) as caught:
        ask(liar, part)
    assert said in str(caught.value)
    assert str(caught.value).startswith("server-1: ")
    assert str(caught.value).isprintable()
    assert not liar.left()
    assert open_files() == before


LATE = {
    "says nothing": "time.sleep(60)",
    "says nothing after hello": "hello(); asked(); time.sleep(60)",
    "trickles for ever": "hello(); asked()\nwhile True: raw(b' '); time.sleep(0.01)",
    "sends parts for ever": "hello(); asked()\nwhile True: say(part=[])",
    "closes its output and stays": "hello(); asked(); os.close(1); time.sleep(60)",
    "closes its output before hello": "os.close(1); os.close(2); time.sleep(60)",
    "ignores SIGTERM": (
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nhello(); asked(); time.sleep(60)"
    ),
    "leaves a child behind": (
        "note(subprocess.Popen(['sleep', '60']).pid); hello(); asked(); time.sleep(60)"
    ),
    "complains for ever": "hello(); asked()\nwhile True: os.write(2, b'no\\n' * 9999)",
}


@pytest.mark.parametrize("late", LATE)
def test_the_operator_never_waits_beyond_the_deadline(tmp_path, late):
    liar = Liar(tmp_path, LATE[late])
    with pytest.raises(Unreachable, match=r"^server-1: no answer within 0.3 s$"):
        ask(liar, deadline_s=0.3)
    assert not liar.left()


def test_a_host_that_never_reads_holds_nobody_up(tmp_path):
    liar = Liar(tmp_path, "hello(); time.sleep(60)")
    with pytest.raises(Unreachable, match="no answer within"):
        ask(liar, rows=["x" * 1000] * 5000, deadline_s=0.3)
    assert not liar.left()


def test_a_child_that_outlives_its_parent_is_ended_too(tmp_path):
    body = (
        "note(subprocess.Popen(['sleep', '60'], stdout=subprocess.DEVNULL).pid)\n"
        "hello(); asked(); say(ok=1)"
    )
    liar = Liar(tmp_path, body)
    assert ask(liar) == 1
    assert not liar.left()


def test_a_reply_without_end_is_cut(tmp_path, monkeypatch):
    monkeypatch.setattr("onearm.places.conversation.REPLY_LIMIT", 100_000)
    liar = Liar(tmp_path, "hello(); asked()\nwhile True: say(part='x' * 1000)")
    with pytest.raises(PlaceError, match="over 100000 bytes came back"):
        ask(liar, deadline_s=20)


def test_a_stream_may_be_longer_and_take_longer_but_not_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr("onearm.places.conversation.REPLY_LIMIT", 1)
    slow = "hello(); asked()\nfor n in range(6): say(part=n); time.sleep(0.3)\nsay(ok=1)"
    found = []
    conversation = Conversation("server-1", Liar(tmp_path, slow).prefix, 1.2)
    assert conversation.stream({"do": "x"}, (), found.append) == 1
    conversation.close()
    assert found == list(range(6))
    monkeypatch.setattr("onearm.places.conversation.STREAM_LIMIT", 100_000)
    endless = Liar(tmp_path, "hello(); asked()\nwhile True: say(part='x' * 1000)")
    conversation = Conversation("server-1", endless.prefix, DEADLINE_S)
    with pytest.raises(PlaceError, match="over 100000 bytes came back"):
        conversation.stream({"do": "x"}, (), found.append)
    silent = Liar(tmp_path, "hello(); asked(); say(part=1); time.sleep(60)")
    conversation = Conversation("server-1", silent.prefix, 1)
    with pytest.raises(Unreachable, match="no answer within 1 s"):
        conversation.stream({"do": "x"}, (), found.append)


def test_a_bug_of_the_node_arrives_with_its_traceback(tmp_path):
    text = "Traceback:\\n  line \\x1b 1\\nValueError"
    liar = Liar(tmp_path, f"hello(); asked(); say(error={{'kind': 'bug', 'text': '{text}'}})")
    with pytest.raises(OnearmError) as caught:
        ask(liar)
    assert type(caught.value) is OnearmError
    assert str(caught.value) == "server-1: the node failed:\nTraceback:\n  line ? 1\nValueError"


@pytest.mark.parametrize(
    ("kind", "expected"), [("UsageError", UsageError), ("Differs", PlaceError), ("x", PlaceError)]
)
def test_what_the_user_asked_wrongly_is_told_as_that(tmp_path, kind, expected):
    """The daemon there has the user here."""
    said = f"hello(); asked(); say(error={{'kind': '{kind}', 'text': 'no'}})"
    with pytest.raises(expected, match=r"^server-1: no$") as caught:
        ask(Liar(tmp_path, said))
    assert type(caught.value) is expected


INSTALLS = """\
state = os.path.dirname(PIDS) + "/node"
if sys.argv[1] == "install":
    data = sys.stdin.buffer.read()
    open(state, "wb").write(data)
    assert sys.argv[2:6] == ["-D", "-m", "0700", "/dev/stdin"], sys.argv
    sys.exit()
assert sys.argv[1:3] == ["python3", "-IS"]
if not os.path.exists(state):
    print("python3: can't open file", file=sys.stderr)
    sys.exit(CODE)
hello(); asked(); say(ok=os.path.getsize(state))
"""


@pytest.mark.parametrize("code", [1, 2])  # 1: the file is there, but cut off
def test_the_file_is_put_there_when_it_is_missing_or_broken(tmp_path, code):
    liar = Liar(tmp_path, INSTALLS.replace("CODE", str(code)))
    size = ask(liar)
    assert size == len(Conversation("x", [], 1)._data)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            "print('install: no space', file=sys.stderr); sys.exit(1)",
            "put there: install: no space",
        ),
        ("sys.exit(0)", "ended with code 2"),
    ],
)
def test_a_file_that_cannot_be_put_there(tmp_path, body, said):
    both = f"if sys.argv[1] == 'install':\n    {body}\nsys.exit(2)"
    liar = Liar(tmp_path, both)
    with pytest.raises(Unreachable, match=said):
        ask(liar)


@pytest.mark.parametrize("does", ["time.sleep(60)", "raw(b'x' * 65536)"])
def test_an_install_without_end_ends_in_time(tmp_path, does):
    liar = Liar(tmp_path, f"if sys.argv[1] == 'install':\n    while True: {does}\nsys.exit(2)")
    with pytest.raises(Unreachable, match="no answer within"):
        ask(liar, deadline_s=0.5)
    assert not liar.left()


@pytest.mark.parametrize("prefix", [["/nowhere/at/all"], ["/dev/null"], ["/nowhere\0"]])
def test_a_prefix_that_cannot_be_started(prefix):
    conversation = Conversation("server-1", prefix, 1)
    with pytest.raises(Unreachable, match=r"^server-1: .*could not be started .*correct `reach`"):
        conversation.ask({"do": "look"}, [], no_part)
    conversation.close()


def test_after_a_failure_the_next_request_starts_anew(tmp_path):
    flag = tmp_path / "second"
    liar = Liar(
        tmp_path,
        f"flag = {str(flag)!r}\nhello(); asked()\n"
        "if os.path.exists(flag):\n    say(ok=2)\nelse:\n    open(flag, 'w'); raw(b'nonsense\\n')",
    )
    conversation = Conversation("server-1", liar.prefix, DEADLINE_S)
    with pytest.raises(PlaceError, match="a line of JSON"):
        conversation.ask({"do": "x"}, [], no_part)
    assert conversation.ask({"do": "x"}, [], no_part) == 2
    conversation.close()
    assert not liar.left()


def test_the_prefix_gets_only_words_that_no_shell_changes(tmp_path):
    liar = Liar(
        tmp_path,
        f"open({str(tmp_path / 'words')!r}, 'a').write(' '.join(sys.argv[1:]) + '\\n')\n"
        "sys.exit(0 if sys.argv[1] == 'install' else 2)",
    )
    with pytest.raises(Unreachable):
        ask(liar)
    words = (tmp_path / "words").read_text().split()
    assert len(words) == 3 + 6 + 3
    allowed = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/=-")
    assert not [word for word in words if not set(word) <= allowed]


def test_many_small_pieces_are_read_in_one_pass(tmp_path):
    body = "hello(); asked()\nfor _ in range(3000): raw(b'{\"part\":0}\\n')\nsay(ok=1)"
    parts = []
    assert ask(Liar(tmp_path, body), parts.append, deadline_s=20) == 1
    assert len(parts) == 3000
