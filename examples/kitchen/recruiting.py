"""fipa-recruiting: have somebody find agents, which then answer us themselves (FIPA00034)."""

# ruff: noqa: D101, D102, D103, T201 - the text beside it says what it is, and it prints

from __future__ import annotations

from stage import Cook, Temperature, Temperatures, perform

from behaviours.brokering import Brokered
from behaviours.handlers import answers, brokers
from behaviours.outcomes import Succeeded, sentence
from behaviours.participating import Participation
from ontology.aid import AgentIdentifier
from ontology.interaction import Proxy
from ontology.management import DfAgentDescription


# [example]
class Kettle(Cook):
    @answers(Temperatures)
    async def measure(self, query: Temperatures, task: Participation) -> Temperature:
        return Temperature(celsius=20.5)


class Recruiter(Cook):
    @brokers(Proxy)
    async def find(self, wanted: Proxy, task: Participation) -> list[AgentIdentifier]:
        return [AgentIdentifier.of("kettle@localhost")]


async def play(cook: Cook) -> None:
    anybody = DfAgentDescription(languages=("json",))
    match await cook.recruit("recruiter@localhost", anybody, Temperatures(), performative="query-ref"):
        case Brokered(replies=replies):
            for reply in replies.values():
                if isinstance(reply, Succeeded):
                    print(f"{reply.message.sender} itself: {reply.result}")
        case outcome:
            print(sentence(outcome))


# [end]


if __name__ == "__main__":
    perform(play, kettle=Kettle, recruiter=Recruiter)
