"""The manual page, onearm(1), made of the commands' own help."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
from docs_words import AFTER_EXITS, EXITS, FILES, VARIABLES

HEAD = """\
.\\" Written by scripts/docs (`make docs`) from the commands themselves: change them, not this page.
.TH ONEARM 1
"""
ABOUT = """\
One YAML file, the spec, says which hosts are director and real servers, and which virtual services they serve. \
onearm makes the director's kernel, the real servers' kernels and the cloud's ports agree with it (plan, apply), proves \
by traffic that they do (verify), names what is wrong where they do not (doctor), and can keep watch on the director \
(director). Hosts need python3 and a way in, by default `ssh HOST sudo -n`.
"""  # noqa: E501 - a page, not code
EXAMPLES = (
    ("onearm plan web.yaml", "show what would change, and change nothing"),
    ("onearm apply web.yaml --yes", "change it, without a question"),
    ("onearm verify web.yaml --client 'ssh client sudo -n'", "prove it by real connections"),
    ("onearm lab up && onearm apply web.yaml", "try it in a network on this machine"),
)
SEE = ".BR ipvsadm (8), .BR ip (8), .BR ssh (1), .BR ssh_config (5)"


def page(command: click.Command) -> str:
    """Write the whole page."""
    return HEAD + "".join(_sections(click.Context(command, info_name="onearm")))


def _sections(context: click.Context) -> Iterator[str]:
    help_ = _paragraphs(context.command)
    yield f".SH NAME\nonearm \\- {roff(_sentence(help_[0]))}\n"
    yield f".SH SYNOPSIS\n.B onearm\n{_shown(_arguments(context))}\n"
    yield f".SH DESCRIPTION\n{roff(ABOUT)}\n.SH OPTIONS\n"
    yield from _options(context)
    yield ".SH COMMANDS\n"
    yield from _commands(context)
    yield ".SH EXIT STATUS\n"
    yield from (_item(code, means) for code, means in EXITS)
    yield f".PP\n{roff(AFTER_EXITS)}\n"
    yield ".SH ENVIRONMENT\n"
    yield from (_item(name, means) for name, means in VARIABLES)
    yield ".SH FILES\n"
    yield from (_item(name, means) for name, means in FILES)
    yield ".SH EXAMPLES\n"
    yield from (_item(line, means) for line, means in EXAMPLES)
    yield ".SH SEE ALSO\n" + SEE.replace(", ", ",\n") + "\n"


def _commands(context: click.Context) -> Iterator[str]:
    """Write every command below one, in the order of their use."""
    group = context.command
    if not isinstance(group, click.Group):
        return
    for name in group.list_commands(context):
        inner = click.Context(group.commands[name], info_name=name, parent=context)
        if not isinstance(inner.command, click.Group):
            yield f".SS {roff(inner.command_path)} {_shown(_arguments(inner))}\n"
            yield "\n.PP\n".join(map(roff, _paragraphs(inner.command))) + "\n"
            yield from _options(inner)
        yield from _commands(inner)


def _options(context: click.Context) -> Iterator[str]:
    found = [parameter.get_help_record(context) for parameter in context.command.params]
    yield from (_item(option, text) for option, text in filter(None, found) if text)


def _arguments(context: click.Context) -> str:
    return " ".join(context.command.collect_usage_pieces(context))


def _paragraphs(command: click.Command) -> list[str]:
    return [" ".join(part.split()) for part in (command.help or "").split("\n\n")]


def _sentence(text: str) -> str:
    return text[0].lower() + text[1:].rstrip(".")


def _shown(arguments: str) -> str:
    return f"\\fI{roff(arguments)}\\fR" if arguments else ""


def _item(term: str, text: str) -> str:
    return f".TP\n\\fB{roff(term)}\\fR\n{roff(text)}\n"


def roff(text: str) -> str:
    """Write Markdown's few signs as roff's, and no character that roff takes for a request."""
    text = re.sub(r"\[[^]]*\]\([^)]*\)", "docs/reference/files.md", " ".join(text.split()))
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    text = re.sub(r"`([^`]*)`", r"\\fB\1\\fR", text)
    return f"\\&{text}" if text.startswith(".") else text
