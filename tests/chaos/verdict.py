"""What a written history proves: nothing lost, nothing doubled, nothing hung. Pure.

A handler runs again after its process was killed (`docs/delivery.md`), so that it runs twice is no mistake.
What counts is what the platform promises, and what anybody else can see:

**lost**, one each for

- a conversation of which the sender was told that it succeeded, and no receiver has written down an effect
  with the token that the result bears;
- a note that was acknowledged, and that its receiver has not taken down;
- a conversation whose first message its participant has heard and acknowledged (it is no dead letter, and
  stands in no outbox), and which came to nothing there: neither an effect nor an end is written down, nor
  was its initiator given any last word. It was taken and forgotten;
- a message that is neither acknowledged nor a dead letter: it stands in an outbox when all is over;
- an award, given in the last life of whoever called for proposals, of which its winner has never heard, and
  which is no dead letter either;
- an award of which its winner has heard, and which whoever gave it, killed since, has come to an end without.

**doubled**, one each for

- a conversation in which its initiator was told two different results. Each run of a handler makes a token
  of its own, so two tokens are the results of two runs;
- a handler or listener that has begun twice for one message in one life of its process;
- a handler that has begun after the initiator had the result, a listener after the acknowledgement;
- a piece of work that one receiver has done under two conversation-ids: the key under which an effect that
  may be done only once is done (`task.id`) was not the same when the handler ran again;
- work that was called for and done by a receiver that was not awarded it;
- work that was called for and awarded to two.

**hung**, one each for

- something the sender has begun, and was told nothing of until the patience of the test was over;
- a conversation that an agent's journal still holds open when all is over.

What the sender is told is not judged: that a receiver could not be reached may be true. How many succeeded
is counted beside. A listener has no claim of its own: killed between its effect and the commit it hears the
message again, in another life, and that is not counted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.chaos.history import Line, of


@dataclass(frozen=True, kw_only=True)
class Left:
    """What lies in the journal when all is over."""

    outgoing: Sequence[tuple[str, str]] = ()
    """Agent and id of messages that stand in an outbox."""
    conversations: Sequence[tuple[str, str]] = ()
    """Agent and key of conversations that are open."""


@dataclass(kw_only=True)
class Verdict:
    """What was found, each as a sentence."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    hung: list[str] = field(default_factory=list)
    messages: int = 0
    conversations: int = 0
    told: Counter[str] = field(default_factory=Counter)
    """How often the sender was told what."""
    gone_on_with: int = 0
    """Awards whose giver was killed after it had given them, and has come to an end with them."""

    @property
    def is_good(self) -> bool:
        """Whether nothing was found."""
        return not (self.lost or self.doubled or self.hung)

    def last_line(self, kills: int) -> str:
        """The verdict in one line."""
        found = f"lost {len(self.lost)}, doubled {len(self.doubled)}, hung {len(self.hung)}"
        return f"kills {kills}, messages {self.messages}, conversations {self.conversations}: {found}"


def judge(lines: Sequence[Line], left: Left) -> Verdict:
    """Hold a history against the promises."""
    asked = {line["key"]: line for line in of(lines, "asked")}
    told = {line["key"]: line for line in of(lines, "told")}
    begun = [each for each in of(lines, "ConversationOpened") if each["role"] == "initiator"]
    conversations = {(each["conversation_id"], each["peer"]) for each in begun}
    verdict = Verdict(messages=len(asked), conversations=len(conversations))
    verdict.told.update(line["how"] for line in told.values())
    verdict.hung += [f"{key} ({asked[key]['what']}): nothing was told" for key in asked.keys() - told.keys()]
    verdict.hung += [f"{agent}: {key} is open" for agent, key in left.conversations]
    verdict.lost += [f"{agent}: {key} stands in the outbox" for agent, key in left.outgoing]
    _lost_results(lines, asked, told, verdict)
    _forgotten(lines, verdict)
    _doubled_results(lines, verdict)
    _doubled_runs(lines, told, verdict)
    _doubled_effects(lines, asked, verdict)
    _awards(lines, asked, verdict)
    return verdict


def _lost_results(
    lines: Sequence[Line], asked: dict[str, Line], told: dict[str, Line], verdict: Verdict
) -> None:
    effects = {(line["key"], line["token"]) for line in of(lines, "effect")}
    noted = {(line["key"], line["who"]) for line in of(lines, "noted")}
    for key, line in told.items():
        if line["how"] == "Succeeded" and (key, line["token"]) not in effects:
            verdict.lost.append(f"{key}: succeeded, and nobody has done it")
        if line["how"] == "acknowledged" and (key, asked[key]["to"][0]) not in noted:
            verdict.lost.append(f"{key}: acknowledged, and nobody has noted it")


def _forgotten(lines: Sequence[Line], verdict: Verdict) -> None:
    """Conversations that were taken, and came to nothing at their participant."""
    answered = {
        (each["conversation_id"], each["peer"]) for each in of(lines, "heard") if each["act"] in _LAST
    }
    buried = {
        (each["conversation_id"], each["peer"]) for each in of(lines, "buried") if not each["is_inbound"]
    }
    ended = {
        (each["conversation_id"], each["who"])
        for each in of(lines, "ConversationEnded")
        if each["role"] == "participant"
    }
    done = {(each["id"], each["who"]) for each in of(lines, "effect")}
    # What was begun and not sent, as its beginner was killed before it had written it down, nobody has heard.
    taken = {(each["conversation_id"], each["who"]) for each in of(lines, "heard") if each["act"] in _FIRST}
    for conversation, who in sorted(taken - answered - buried - ended - done):
        verdict.lost.append(f"{conversation}: {who} took it, and has forgotten it")


_FIRST = frozenset({"request", "cfp"})
_LAST = frozenset({"inform", "failure", "refuse", "not-understood", "reject-proposal"})


def _doubled_results(lines: Sequence[Line], verdict: Verdict) -> None:
    tokens: dict[tuple[str, str], set[str]] = defaultdict(set)
    for each in of(lines, "heard"):
        if each["token"]:
            tokens[each["conversation_id"], each["peer"]].add(each["token"])
    for (conversation, peer), found in tokens.items():
        if len(found) > 1:
            verdict.doubled.append(f"{conversation}: {peer} has told {len(found)} results")


def _doubled_runs(lines: Sequence[Line], told: dict[str, Line], verdict: Verdict) -> None:
    results: dict[tuple[str, str], int] = {}
    for each in of(lines, "heard"):
        if each["token"]:
            results.setdefault((each["conversation_id"], each["peer"]), each["at"])
    runs: set[tuple[str, str, int, str]] = set()
    for each in of(lines, "begun", "bid", "noted"):
        who, name = each["who"], each.get("id", each["key"])
        if (run := (who, name, each["life"], each["kind"])) in runs:
            verdict.doubled.append(f"{each['key']}: {who} began it twice in life {each['life']}")
        runs.add(run)
        end = results.get((name, who))
        if each["kind"] == "noted" and told.get(each["key"], {}).get("how") == "acknowledged":
            end = told[each["key"]]["at"]
        if end is not None and each["at"] > end:
            verdict.doubled.append(f"{each['key']}: {who} began it after its end was known")


def _doubled_effects(lines: Sequence[Line], asked: dict[str, Line], verdict: Verdict) -> None:
    awards = {(each["key"], each["to"]) for each in of(lines, "awarded")}
    ids: dict[tuple[str, str, bool], set[str]] = defaultdict(set)
    strangers = set()
    for each in of(lines, "effect"):
        key, who = each["key"], each["who"]
        ids[key, who, each.get("is_relay", False)].add(each["id"])
        is_called_for = asked[key]["what"] in _CALLED_FOR and not each.get("is_relay")
        if is_called_for and (key, who) not in awards:
            strangers.add(f"{key}: {who} did it without an award")
    verdict.doubled += strangers
    for (key, who, _is_relay), found in ids.items():
        if len(found) > 1:
            verdict.doubled.append(f"{key}: {who} did it under {len(found)} ids")


_CALLED_FOR = frozenset({"call", "tender"})


def _awards(lines: Sequence[Line], asked: dict[str, Line], verdict: Verdict) -> None:
    """Whether what was called for was awarded to one, for good."""
    # A bid is made in the conversation in which its award comes.
    bids = {(each["key"], each["who"]): each["id"] for each in of(lines, "bid")}
    heard = {
        (each["conversation_id"], each["who"])
        for each in of(lines, "heard")
        if each["act"] == "accept-proposal"
    }
    buried = {(each["conversation_id"], each["peer"]) for each in of(lines, "buried")}
    given: dict[tuple[str, str], set[int]] = defaultdict(set)
    for each in of(lines, "awarded"):
        given[each["key"], each["to"]].add(each["life"])
    # In which life its handler began last, and came to an end; the sender, which is not killed, has one.
    begun: dict[str, int] = dict.fromkeys(asked, 1)
    ended: dict[str, int] = {}
    for each in of(lines, "begun", "effect", "failed"):
        if each.get("is_relay"):
            (begun if each["kind"] == "begun" else ended)[each["key"]] = each["life"]
    winners: dict[str, list[str]] = defaultdict(list)
    for (key, to), lives in given.items():
        conversation, life = bids.get((key, to), ""), begun[key]
        if (conversation, to) in heard:
            winners[key].append(to)
            if ended.get(key) == life and life not in lives:
                verdict.lost.append(f"{key}: it was awarded to {to}, and that is forgotten")
            verdict.gone_on_with += ended.get(key) == life and lives > {life}
        elif life in lives and (conversation, to) not in buried:
            verdict.lost.append(f"{key}: it is awarded to {to}, who has never heard of it")
    for key, found in winners.items():
        if len(found) > 1:
            verdict.doubled.append(f"{key}: it is awarded to {' and '.join(sorted(found))}")
