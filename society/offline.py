# ruff: noqa: PLC0415 - modules are imported where a command needs them, as in `society.cli`
"""Commands that need no running society: its secrets, ontologies, protocols, messages, what was recorded."""

from __future__ import annotations

from pathlib import Path

import click

from society.events import tell_as_json
from society.options import file_option, form_of, format_option, json_option, load, write_line


@click.command(short_help="Print an ACL message in another form.")
@click.argument("source", metavar="[FILE|-]", default="-")
@format_option
@json_option
def show(source: str, form: str | None, *, as_json: bool) -> int:
    """Print the ACL message in a file, or by default from standard input, for people or in a written form.

    The form that it has is found out: JSON, FIPA00070 or FIPA00071.
    """
    from society import messages

    shape = form_of(form, as_json=as_json)
    message = messages.load(source)
    write_line(messages.readable(message) if shape is None else messages.written(message, shape))
    return 0


@click.group(
    "ontology", short_help="List ontologies, or write one for other programs.", no_args_is_help=False
)
def ontology_group() -> None:
    """List ontologies, or write one for other programs."""


@ontology_group.command("list", short_help="List the built-in ontologies.")
@json_option
def ontology_list(*, as_json: bool) -> int:
    """List the built-in ontologies and their terms."""
    from society.ontologies import listed

    for label, terms in listed():
        if as_json:
            tell_as_json("ontology", label=label, terms=terms)
        else:
            write_line(f"{label}: {', '.join(terms)}")
    return 0


@ontology_group.command("export", short_help="Write an ontology as JSON Schema or OWL.")
@click.argument("name")
@click.option("--format", "form", type=click.Choice(["json-schema", "owl"]), default="json-schema")
def ontology_export(name: str, form: str) -> int:
    """Write the ontology NAME, or one of your own as package.module:VARIABLE; OWL is written in Turtle."""
    from society.ontologies import export, find

    write_line(export(find(name), form))
    return 0


@click.command(short_help="Show the interaction protocols.")
@click.argument("name", required=False)
@click.option("--mermaid", is_flag=True, help="Draw NAME as a Mermaid state diagram.")
@json_option
def protocols(name: str | None, *, mermaid: bool, as_json: bool) -> int:
    """List the interaction protocols, or show how NAME goes, e.g. fipa-request."""
    from society import conversations

    if mermaid and (name is None or as_json):
        raise click.UsageError("--mermaid draws one protocol: name it, and leave out --json")
    if as_json:
        for table in conversations.tables(name):
            tell_as_json("protocol", **conversations.record_of(table))
        return 0
    if name is None:
        lines = conversations.summary()
    else:
        lines = (conversations.drawn if mermaid else conversations.described)(conversations.protocol_of(name))
    write_line("\n".join(lines))
    return 0


@click.command(short_help="Say who broke which rule in a recorded trace.")
@click.argument("trace", type=click.Path(path_type=Path))
@json_option
def audit(trace: Path, *, as_json: bool) -> int:
    """Say which agent broke which rule of which protocol in TRACE, as [society] trace has recorded it."""
    from society import conversations

    return conversations.judge(trace, None if as_json else write_line)


@click.command(short_help="Make the society's passwords and certificates.")
@file_option
@json_option
@click.option(
    "--server", multiple=True, metavar="HOST", help="Make a certificate for an XMPP server of this name."
)
def prepare(path: Path, server: tuple[str, ...], *, as_json: bool) -> int:
    """Make the secrets that the society has not got yet, in its state folder; nothing is started.

    That is a password for each account, and with --server a certificate for an XMPP server of your own,
    signed by the society's authority. What is there already stays.
    """
    from society.preparing import prepare as make

    for what, where in make(load(path), server):
        if as_json:
            tell_as_json("prepared", what=what, path=str(where))
        else:
            write_line(f"{what:<12}{where}")
    return 0


COMMANDS = (prepare, show, ontology_group, protocols, audit)
