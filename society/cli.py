# ruff: noqa: PLC0415 - modules are imported where a command needs them: SPADE takes a second, and --help should not
"""The command line: with `society.options` the only code that knows click.

Exit codes: 0, 1 when something went wrong, 2 when the command was misused, 130 after Ctrl-C.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from society import offline, running
from society.errors import MisuseError, SocietyError
from society.options import (
    agent_option,
    ask,
    either,
    file_option,
    finite,
    form_of,
    format_option,
    json_option,
    load,
    replica_option,
    teller,
    to_option,
    write_line,
)
from society.running import InterruptedByUserError

_Command = TypeVar("_Command", bound=Callable[..., Any])

INTERRUPTED = 130

_BEGAN = time.monotonic()


@click.group(
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="locution", prog_name="locution")
@click.pass_context
def cli(context: click.Context) -> None:
    """Agents that negotiate: a society of agents that talk FIPA ACL over XMPP."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(2)


@cli.command(short_help="Run the society, or a part of it.")
@file_option
@json_option
@click.option("--only", multiple=True, metavar="NAME...", help="Run these agents only; xmpp-server is one.")
@click.option(
    "--any", "any_of", metavar="KIND", help="Run one agent of this kind that runs nowhere else yet."
)
@click.option("--verbose", "-v", is_flag=True, help="Log every message.")
@replica_option
@click.argument("more", nargs=-1, metavar="")
def up(
    path: Path, only: tuple[str, ...], more: tuple[str, ...], any_of: str | None, replica: str, **how: bool
) -> int:
    """Run the society, or with --only or --any a part of it, until Ctrl-C or SIGTERM."""
    if any_of is not None and (only or more):
        raise click.UsageError("--any chooses the agent, and --only names some; leave one of them out")
    if more and not only:
        raise click.UsageError(
            f"unexpected argument {more[0]!r}; to run some agents only, write --only {more[0]}"
        )
    return _up(path, (*only, *more), replica, any_of, **how)


@cli.command("xmpp-server", short_help="Run the embedded XMPP server alone.")
@file_option
@json_option
@click.option("--verbose", "-v", is_flag=True, help="Log everything.")
def xmpp_server(path: Path, *, as_json: bool, verbose: bool) -> int:
    """Run the embedded XMPP server alone, with the society's accounts."""
    return _up(path, ("xmpp-server",), "main", as_json=as_json, verbose=verbose)


@cli.command(short_help="Have a model trained.")
@click.argument("data", type=click.Path(path_type=Path))
@file_option
@json_option
@to_option
@click.option("--target", required=True, metavar="COLUMN", help="The column to predict.")
@click.option("--drop", multiple=True, metavar="COLUMN", help="A column that is no feature; may be repeated.")
@click.option("--model", metavar="NAME", help="The name to keep it under; by default the file's.")
@click.option("--network", metavar="NAME", help="mlp, cnn, logistic, or one of your own [default: mlp]")
@click.option("--kind", metavar="KIND", help="classification or regression [default: classification]")
@click.option("--epochs", type=int, help="The most epochs [default: 40]")
@click.option("--batch-size", type=int, help="Rows in a step [default: 64]")
@click.option("--learning-rate", type=float, help="[default: 0.003]")
@click.option("--patience", type=int, help="Epochs without a better loss before it stops [default: 10]")
@click.option("--held-out", type=float, help="The fraction of rows to measure on [default: 0.2]")
@click.option("--seed", type=int, help="[default: 0]")
@click.option("--device", metavar="DEVICE", help="auto, cpu or cuda [default: auto]")
@click.option(
    "--at-least",
    type=float,
    callback=finite,
    metavar="SCORE",
    help="Fail below this held-out accuracy, or r2.",
)
def train(
    data: Path, path: Path, to: str | None, at_least: float | None, *, as_json: bool, **wishes: Any
) -> int:
    """Have a model trained on DATA, a file in the data folder."""
    from society import arguments, commands

    file = load(path)
    task = arguments.task(data, file.society.data, wishes)
    return ask(as_json, lambda tell: commands.train(file, to, task, at_least, tell))


@cli.command(short_help="Have a model applied to rows.")
@click.argument("model")
@click.argument("rows", type=click.Path(path_type=Path))
@file_option
@json_option
@to_option
@click.option("--first", type=click.IntRange(min=1), metavar="N", help="Only the first N rows.")
@click.option("--drop", multiple=True, metavar="COLUMN", help="A column that is not sent; may be repeated.")
@click.option("--compare", metavar="COLUMN", help="A column to show beside the predictions.")
def predict(
    model: str,
    rows: Path,
    path: Path,
    to: str | None,
    first: int | None,
    drop: tuple[str, ...],
    compare: str | None,
    *,
    as_json: bool,
) -> int:
    """Have MODEL (name, or name:version) applied to the ROWS of a CSV file."""
    from society import arguments, commands, tables

    file = load(path)
    model = arguments.label(model)
    table = tables.read(rows, drop=drop, compare=compare, first=first)
    return ask(as_json, lambda tell: commands.predict(file, to, model, table, tell))


@cli.command(short_help="List the agents in the directory.")
@file_option
@json_option
def agents(path: Path, *, as_json: bool) -> int:
    """List the agents in the directory."""
    from society import commands

    file = load(path)
    return ask(as_json, lambda tell: commands.agents(file, tell))


@cli.command(short_help="List task groups and who leads them.")
@file_option
@json_option
def groups(path: Path, *, as_json: bool) -> int:
    """List the task groups that somebody has led, and who leads them now, in which term and since when."""
    from society import commands

    file = load(path)
    return ask(as_json, lambda tell: commands.groups(file, tell))


@cli.command(short_help="Look whether the society would run here.")
@file_option
@json_option
def check(path: Path, *, as_json: bool) -> int:
    """Look whether the society would run here: file, kinds, ports, folders, packages."""
    from society.checking import look

    file, tell, fine = load(path), teller(as_json), True
    for point in look(file):
        tell("check", **point._asdict())
        fine = fine and point.ok
    return 0 if fine else 1


@cli.command(short_help="Send any ACL message, and print the replies.")
@click.argument("to", required=False)
@click.argument("performative", required=False)
@click.argument("content", required=False)
@file_option
@json_option
@format_option
@click.option("--message", "source", metavar="FILE|-", help="Send this whole message instead, in any form.")
@click.option(
    "--wait", type=float, callback=finite, default=10.0, show_default=True,
    help="Seconds for each reply; 0: none.",
)  # fmt: skip
@click.option("--protocol", metavar="NAME", help="E.g. fipa-request.")
@click.option("--ontology", metavar="NAME")
@click.option("--language", metavar="NAME")
@click.option("--encoding", metavar="NAME")
@click.option("--conversation-id", metavar="ID", help='By default a new one; "" sends none.')
@click.option("--reply-with", metavar="ID", help='By default a new one; "" sends none.')
@click.option("--in-reply-to", metavar="ID")
@click.option("--reply-by", metavar="TIME", help="ISO 8601, or seconds from now.")
@click.option("--reply-to", multiple=True, metavar="AGENT", help="Who is to get the answer.")
@click.option("-X", "user", multiple=True, metavar="NAME=VALUE", help="A user-defined parameter, X-NAME.")
def send(
    to: str,
    performative: str,
    content: str,
    path: Path,
    source: str | None,
    form: str | None,
    wait: float,
    *,
    as_json: bool,
    **parameters: Any,
) -> int:
    """Send any ACL message to an agent, and print what comes back.

    Nothing is checked against a protocol. CONTENT is taken as it is; a hyphen reads it from standard input.
    With --message the whole message comes from a file, but for the sender, who is always the operator.
    """
    from society import arguments, commands, messages

    shape = form_of(form, as_json=as_json)
    either({"to", "performative", "content", *parameters}, is_whole=source is not None)
    file = load(path)
    if source is not None:
        message = messages.load(source)
    else:
        text = sys.stdin.read() if content == "-" else content
        message = arguments.message(file, arguments.names([to]), performative, text, parameters)
    tell = write_line if shape is not None else None
    return ask(as_json, lambda other: commands.send(file, message, wait, tell or other, shape))


@cli.group("dead-letters", short_help="What could not be delivered or handled.", no_args_is_help=False)
def dead_letters_group() -> None:
    """What could not be delivered, read or handled: list it, show it, replay it, drop it."""


@dead_letters_group.command("list", short_help="List dead letters, newest first.")
@file_option
@json_option
@agent_option
@click.option("--limit", type=click.IntRange(min=1, max=10_000), default=100, show_default=True, metavar="N")
def dead_letters_list(path: Path, agent: str | None, limit: int, *, as_json: bool) -> int:
    """List dead letters, newest first. The society need not run."""
    from society import dead_letters

    file = load(path)
    return ask(as_json, lambda tell: dead_letters.listed(file, agent, tell, limit))


@dead_letters_group.command("show", short_help="Show one with its message.")
@click.argument("id")
@file_option
@json_option
@agent_option
def dead_letters_show(id: str, path: Path, agent: str | None, *, as_json: bool) -> int:  # noqa: A002 - its name on the command line
    """Show the dead letter ID with the message that it was. The society need not run."""
    from society import dead_letters

    file = load(path)
    return ask(as_json, lambda tell: dead_letters.shown(file, id, agent, tell))


@dead_letters_group.command("replay", short_help="Do again what came to nothing.")
@click.argument("id")
@file_option
@json_option
@agent_option
@click.option(
    "--again", is_flag=True, help="Send it even where its receiver may have had it and forgotten that."
)
def dead_letters_replay(id: str, path: Path, agent: str | None, *, again: bool, as_json: bool) -> int:  # noqa: A002 - likewise
    """Have the agent send or handle the dead letter ID again, as far as its protocol still allows that.

    A receiver that has had the message after all drops the copy, if it still knows. The agent must run.
    """
    from society import dead_letters

    file = load(path)
    return ask(as_json, lambda tell: dead_letters.replayed(file, id, agent, tell, again=again))


@dead_letters_group.command("drop", short_help="Remove one.")
@click.argument("id")
@file_option
@json_option
@agent_option
def dead_letters_drop(id: str, path: Path, agent: str | None, *, as_json: bool) -> int:  # noqa: A002 - likewise
    """Remove the dead letter ID for good. The society need not run."""
    from society import dead_letters

    file = load(path)
    return ask(as_json, lambda tell: dead_letters.dropped(file, id, agent, tell))


for _command in offline.COMMANDS:
    cli.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and end the process with its exit code; every error is one sentence on stderr."""
    try:
        code = cli.main(arguments, prog_name="locution", standalone_mode=False)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f"; see {context.command_path} --help" if context is not None else ""
        _complain(error.format_message().rstrip(".") + hint)
        code = error.exit_code
    except SocietyError as error:
        _complain(str(error))
        code = {MisuseError: 2, InterruptedByUserError: INTERRUPTED}.get(type(error), 1)
    except (KeyboardInterrupt, click.Abort):
        _complain("interrupted")
        code = INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone, as in `locution agents | head -1`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    running.tidy_up()
    sys.exit(code)


def _complain(text: str) -> None:
    click.echo(f"locution: {text[:1].lower() + text[1:] if text[1:2].islower() else text}", err=True)


def _up(
    path: Path,
    only: Sequence[str],
    replica: str,
    any_of: str | None = None,
    *,
    as_json: bool,
    verbose: bool,
) -> int:
    from society.arguments import names

    running.log_to_stderr(verbose=verbose)
    file, tell = load(path), teller(as_json)
    tell("starting", society=file.society.name, file=str(path))
    return running.up(file, names(only), tell, began=_BEGAN, replica=replica, any_of=any_of)
