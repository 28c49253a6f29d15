# ruff: noqa: PLC0415 - as in `society.cli`
"""What the commands of the command line share: options, and how they tell what they have to tell."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from society import running
from society.errors import MisuseError
from society.events import Tell, tell_as_json

if TYPE_CHECKING:
    from society.config import SocietyFile


def finite(_context: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    """Refuse infinity and what is no number; a callback of click."""
    if value is not None and not math.isfinite(value):
        raise MisuseError(f"{parameter.opts[0]}: write a finite number, not {value}")
    return value


def named(_context: click.Context, parameter: click.Parameter, value: str) -> str:
    """Refuse what cannot be the name of a replica; a callback of click."""
    from behaviours.living import checked

    try:
        return checked(value)
    except ValueError as error:
        raise MisuseError(f"{parameter.opts[0]}: {error}") from error


file_option = click.option(
    "--file",
    "-f",
    "path",
    type=click.Path(path_type=Path),
    default=Path("society.toml"),
    show_default=True,
    help="The society file.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for programs.")
format_option = click.option(
    "--format",
    "form",
    type=click.Choice(["json", "string", "xml"]),
    help="The form of whole messages: JSON, FIPA00070 or FIPA00071.",
)
to_option = click.option("--to", metavar="AGENT", help="Whom to ask; by default the directory is asked.")
replica_option = click.option(
    "--replica",
    metavar="NAME",
    default="main",
    show_default=True,
    callback=named,
    help="Which replica of its agents this process is, where several share the work.",
)
agent_option = click.option("--agent", metavar="NAME", help="Whose; by default those of all agents.")


def load(path: Path) -> SocietyFile:
    """Read the society file."""
    from society import config

    return config.load(path)


def teller(as_json: bool) -> Tell:
    """Where a command tells what happens."""
    if as_json:
        return tell_as_json
    from society.terminal import Terminal

    return Terminal()


def write_line(line: str) -> None:
    """Write a line on standard output, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def ask(as_json: bool, command: running.Command) -> int:
    """Run a command that asks something; its exit code."""
    running.log_to_stderr(verbose=False)
    return running.ask(teller(as_json), command)


def form_of(form: str | None, *, as_json: bool) -> str | None:
    """The form in which whole messages are shown; None for people."""
    if as_json and form not in {None, "json"}:
        raise click.UsageError(f"--json is --format json; leave it out, or --format {form}")
    return "json" if as_json else form


def either(parts: set[str], *, is_whole: bool) -> None:
    """See that a message is given whole, or by its parts."""
    context = click.get_current_context()
    for each in context.command.params:
        if each.name in parts:
            is_given = context.get_parameter_source(each.name) is not ParameterSource.DEFAULT
            if is_whole and is_given:
                name = each.human_readable_name if isinstance(each, click.Argument) else each.opts[0]
                raise click.UsageError(f"--message brings a whole message; leave out {name}")
            if isinstance(each, click.Argument) and not (is_whole or is_given):
                name = each.human_readable_name
                raise click.MissingParameter(ctx=context, param=each, param_hint=f"'{name}'")
