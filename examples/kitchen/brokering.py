"""fipa-brokering: have somebody find agents, ask them, and pass their answers on (FIPA00033)."""

# ruff: noqa: D101, D102, D103, T201 - the text beside it says what it is, and it prints

from __future__ import annotations

from stage import Cook, Temperature, Temperatures, perform

from behaviours.brokering import Brokered
from behaviours.handlers import answers, brokers
from behaviours.outcomes import sentence
from behaviours.participating import Participation
from ontology.aid import AgentIdentifier
from ontology.interaction import Proxy
from ontology.management import DfAgentDescription


# [example]
class Kettle(Cook):
    @answers(Temperatures)
    async def measure(self, query: Temperatures, task: Participation) -> Temperature:
        return Temperature(celsius=20.5)


class Broker(Cook):
    @brokers(Proxy)
    async def find(self, wanted: Proxy, task: Participation) -> list[AgentIdentifier]:
        return [AgentIdentifier.of("kettle@localhost"), AgentIdentifier.of("urn@localhost")]


async def play(cook: Cook) -> None:
    anybody = DfAgentDescription(languages=("json",))
    match await cook.broker("broker@localhost", anybody, Temperatures(), performative="query-ref"):
        case Brokered(replies=replies):
            for name, reply in sorted(replies.items()):
                print(f"{name}: {sentence(reply)}")
        case outcome:
            print(sentence(outcome))


# [end]


if __name__ == "__main__":
    perform(play, kettle=Kettle, urn=Kettle, broker=Broker)
