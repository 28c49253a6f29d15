"""Events as people want to see them: the only code that knows rich.

On a terminal there is a progress bar and colour; into a pipe or a file go plain lines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from ontology.acl import AclMessage

STEP = 10
"""Into a pipe, progress is a line for every so many per cent."""


MODELS = 10
"""Models of an agent that are named."""


class Terminal:
    """Tells events to a person; an instance is a `society.events.Tell`."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._progress: Progress | None = None
        self._bar: TaskID | None = None
        self._step = -1
        self._shows: Mapping[str, Callable[..., None]] = {
            "starting": self._starting,
            "waiting": self._waiting,
            "ready": self._ready,
            "agent-stopped": self._agent_stopped,
            "stopping": self._stopping,
            "stopped": self._stopped,
            "looking": self._looking,
            "asked": self._asked,
            "called": self._called,
            "proposed": self._proposed,
            "awarded": self._awarded,
            "award-lost": self._award_lost,
            "taken-over": self._taken_over,
            "progress": self._progressed,
            "trained": self._trained,
            "prediction": self._prediction,
            "predicted": self._predicted,
            "agent": self._agent,
            "listed": self._listed,
            "group": self._group,
            "groups": self._groups,
            "members": self._members,
            "reply": self._reply,
            "check": self._check,
            "dead-letter": self._dead_letter,
            "dead-letters": self._dead_letters,
            "dropped": self._dropped,
            "replayed": self._replayed,
        }

    def __call__(self, event: str, **fields: Any) -> None:
        """Show one event; what has no form for people is left out."""
        show = self._shows.get(event)
        if show is not None:
            show(**fields)

    def close(self) -> None:
        """Put the terminal in order again, whatever was under way."""
        self._end_bar()

    def _say(self, text: str) -> None:
        self._console.print(text)

    # -- up ------------------------------------------------------------------------------------

    def _starting(self, society: str, file: str) -> None:
        self._say(f"starting {escape(society)} ({escape(file)})")

    def _waiting(self, xmpp: str) -> None:
        self._say(f"waiting for the XMPP server at {escape(xmpp)}")

    def _ready(
        self,
        society: str,
        xmpp: str,
        seconds: float,
        agents: list[dict[str, Any]],
        metrics: str | None = None,
        *,
        serves: bool,
    ) -> None:
        width = max((len(agent["name"]) for agent in agents), default=0)
        kinds = max((len(agent["kind"]) for agent in agents), default=0)
        for agent in agents:
            who = f"{agent['name']:{width}}  {agent['kind']:{kinds}}"
            self._say(f"  {escape(who)}  [cyan]{escape(agent['dashboard'] or 'no dashboard')}[/]")
        if metrics is not None:
            self._say(f"  {'metrics':{width}}  {'':{kinds}}  [cyan]{escape(metrics)}[/]")
        count = _count(len(agents), "agent")
        where = f"{'XMPP server' if serves else 'connected to'} {xmpp}"
        self._say(
            f"[bold green]ready[/]: {escape(society)}, {count}, {where}, {seconds:.1f} s; Ctrl-C stops it"
        )

    def _agent_stopped(self, name: str, because: str | None) -> None:
        why = f"[bold red]because {escape(because)}[/]" if because else "as it was asked to"
        self._say(f"[bold]{escape(name)} has stopped[/], {why}")

    def _stopping(self, because: str) -> None:
        self._say(f"stopping ({escape(because)}); the same again ends it at once")

    def _stopped(self) -> None:
        self._say("stopped")

    def _looking(self, service: str, seconds: float) -> None:
        self._say(f"looking   for {escape(service)} in the directory, for {seconds:g} s")

    # -- train ---------------------------------------------------------------------------------

    def _asked(self, receiver: str) -> None:
        self._say(f"asked     {escape(receiver)}")

    def _called(self, learners: list[str], attempt: int) -> None:
        again = f" (attempt {attempt})" if attempt > 1 else ""
        self._say(f"called    {escape(', '.join(learners)) or 'nobody'}{again}")

    def _proposed(
        self, learner: str, bid: dict[str, Any] | None, declined: str | None, silent: str | None = None
    ) -> None:
        if bid is None:
            did, why = ("declined", declined or "no reason given") if silent is None else ("silent", silent)
            self._say(f"{did:8}  [yellow]{escape(_by(learner, why))}[/]")
            return
        waiting = f", {bid['waiting']} before it" if bid["waiting"] else ""
        self._say(
            f"proposed  {escape(learner)}: {bid['seconds']:.1f} s "
            f"({escape(bid['device']['kind'])}, {bid['rows_per_second']:,.0f} rows/s{waiting})"
        )

    def _awarded(self, learner: str, attempt: int) -> None:
        again = f" (attempt {attempt})" if attempt > 1 else ""
        self._say(f"[bold]awarded   {escape(learner)}[/]{again}")

    def _award_lost(self, learner: str, text: str) -> None:
        self._end_bar()
        self._say(f"[bold yellow]lost      {escape(_by(learner, text))}[/]")

    def _taken_over(self, leader: str) -> None:
        self._end_bar()
        self._say(f"[bold yellow]followed  {escape(leader)} leads now, and goes on with it[/]")

    def _progressed(self, epoch: int, epochs: int, loss: float, score: float) -> None:
        if not self._console.is_terminal:
            step = 100 * epoch // epochs // STEP
            if step != self._step:
                self._step = step
                self._say(f"training  epoch {epoch} of {epochs}, loss {loss:.4f}, validation {score:.4f}")
            return
        if self._progress is None:
            self._progress = Progress(
                TextColumn("training "),
                BarColumn(),
                TextColumn("epoch {task.completed:.0f} of {task.total:.0f}, {task.description}"),
                TimeElapsedColumn(),
                console=self._console,
            )
            self._bar = self._progress.add_task("", total=epochs)
            self._progress.start()
        if self._bar is not None:
            told = f"loss {loss:.4f}, validation {score:.4f}"
            self._progress.update(self._bar, completed=epoch, total=epochs, description=told)

    def _end_bar(self) -> None:
        if self._progress is not None:
            self._progress.stop()
        self._progress, self._step = None, -1

    def _trained(
        self, model: dict[str, Any], label: str, learner: str, seconds: float, epochs: int,
        *, stopped_early: bool = False, **_: Any,
    ) -> None:  # fmt: skip
        self._end_bar()
        early = ", stopped early" if stopped_early else ""
        told = f"{label} by {learner} in {seconds:.1f} s, {_count(epochs, 'epoch')}{early}"
        self._say(f"trained   {escape(told)}")
        metrics: dict[str, float] = model["metrics"]
        first = "accuracy" if model["kind"] == "classification" else "r2"
        for name in sorted(metrics, key=lambda name: (name != first, name)):
            style = "[bold green]" if name == first else "[dim]"
            self._say(f"{style}held-out {escape(name)} {metrics[name]:.4f}[/]")

    # -- predict ---------------------------------------------------------------------------------

    def _prediction(
        self,
        row: int,
        value: float | str,
        confidence: float | None = None,
        actual: str | None = None,
        *,
        is_right: bool | None = None,
    ) -> None:
        shown = f"{value:g}" if isinstance(value, float) else str(value)
        text = f"row {row:>4}  {escape(shown):>8}"
        if confidence is not None:
            text += f"  ({confidence:.1%})"
        if actual is not None:
            mark = {True: "  [green]right[/]", False: "  [red]wrong[/]", None: ""}[is_right]
            text += f"  actual {escape(actual)}{mark}"
        self._say(text)

    def _predicted(self, model: str, rows: int, seconds: float, right: int | None = None) -> None:
        compared = "" if right is None else f", {right} right"
        self._say(f"{escape(model)}: {_count(rows, 'row')}{compared}, {seconds:.2f} s")

    # -- agents, send, check -----------------------------------------------------------------------

    def _agent(
        self,
        name: str,
        services: list[dict[str, Any]],
        lease_left: float | None,
        dashboard: str | None,
        delivery: Mapping[str, Any] | None = None,
    ) -> None:
        lease = "" if lease_left is None else f"  lease {lease_left:.0f} s"
        page = "" if dashboard is None else f"  [cyan]{escape(dashboard)}[/]"
        letters = (delivery or {}).get("letters", 0)
        dead = f"  [yellow]{_count(letters, 'dead letter')}[/]" if letters else ""
        self._say(f"[bold]{escape(name)}[/]  {escape(_services(services))}{lease}{page}{dead}")

    def _listed(self, agents: int, directory: str) -> None:
        if not agents:
            self._say(f"nobody is registered at {escape(directory)}")

    def _group(
        self,
        name: str,
        leader: str | None,
        term: int | None,
        since: str | None,
        seconds: float | None,
        failover: float | None = None,
    ) -> None:
        if leader is None:
            self._say(f"{escape(name)}: [yellow]nobody leads[/]")
        else:
            led = f"leads in term {term} for {seconds:,.0f} s, since {since}"
            before = "" if failover is None else f"; before that nobody led for {failover:,.2f} s"
            self._say(f"{escape(name)}: [bold]{escape(leader)}[/] {led}{before}")

    def _members(self, group: str, members: Sequence[str]) -> None:
        self._say(f"{escape(group)}: {_count(len(members), 'member')}, {escape(', '.join(members))}")

    def _groups(self, groups: int) -> None:
        if not groups:
            self._say("nobody has led a group yet")

    def _reply(self, reply: AclMessage) -> None:
        self._say(f"[bold]{reply.performative.value}[/] from {escape(str(reply.sender))}")
        for name in ("protocol", "ontology", "conversation_id", "in_reply_to"):
            value = getattr(reply, name)
            if value is not None:
                self._say(f"  [dim]{name.replace('_', '-')}: {escape(value)}[/]")
        for name, value in reply.user_parameters.items():
            self._say(f"  [dim]{escape(name)}: {escape(value)}[/]")
        if reply.content is not None:
            self._say(f"  {escape(reply.content)}")

    def _dead_letter(
        self,
        id: str,  # noqa: A002 - its name in JSON
        agent: str,
        peer: str,
        direction: str,
        cause: str,
        text: str,
        when: str,
        attempts: int,
        conversation_id: str,
        protocol: str,
        state: str,
        original: str | None = None,
    ) -> None:
        sender, receiver = (peer, agent) if direction == "in" else (agent, peer)
        self._say(f"[bold]{escape(_plain(id))}[/]  {when[:19]}  {escape(_plain(f'{sender} -> {receiver}'))}")
        where = f"{protocol}, {state}" if protocol and state else protocol
        self._say(f"  {escape(_plain(f'{cause}: {text}'))}{escape(_plain(f' ({where})' if where else ''))}")
        if original is None:
            return
        for name, value in (("attempts", attempts), ("conversation-id", conversation_id)):
            if value:
                self._say(f"  [dim]{name}: {escape(_plain(str(value)))}[/]")
        self._say(f"  {escape(_plain(original))}")

    def _dead_letters(self, letters: int, shown: int) -> None:
        more = f", {shown} shown" if shown < letters else ""
        self._say(f"{_count(letters, 'dead letter')}{more}")

    def _dropped(self, id: str, agent: str) -> None:  # noqa: A002 - likewise
        self._say(f"dropped {escape(id)} of {escape(agent)}")

    def _replayed(self, id: str, agent: str, done: str, text: str) -> None:  # noqa: A002 - likewise
        self._say(f"[green]{done}[/] {escape(id)} of {escape(agent)}: {escape(_plain(text))}")

    def _check(self, name: str, text: str, *, ok: bool) -> None:
        mark = "[green]ok  [/]" if ok else "[bold red]fail[/]"
        self._say(f"{mark}  {escape(name)}: {escape(text)}")


def _services(services: Sequence[Mapping[str, Any]]) -> str:
    """What an agent offers, in short: ``training; models: digits, faces``."""
    models = sorted({str(each.get("name")) for each in services if each.get("type") == "inference"})
    others = sorted({_service(each) for each in services if each.get("type") != "inference"})
    more = f" and {len(models) - MODELS} more" if len(models) > MODELS else ""
    parts = [", ".join(others), f"models: {', '.join(models[:MODELS])}{more}" if models else ""]
    return "; ".join(filter(None, parts)) or "no services"


def _service(service: Mapping[str, Any]) -> str:
    kind, name = service.get("type", ""), service.get("name", "")
    return f"{kind} {name}".strip() if kind != name else str(kind)


def _plain(text: str) -> str:
    """A text without what would move the cursor: a stranger may have written it."""
    return text if text.isprintable() else repr(text)[1:-1]


def _by(agent: str, text: str) -> str:
    """What somebody says; a text that names its agent already is not headed by the name again."""
    return text if text.startswith((f"{agent} ", f"{agent}:")) else f"{agent}: {text}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
