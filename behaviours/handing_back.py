"""What an agent was awarded, given back when its process is to stop: managers choose somebody else at once.

Without that the manager would wait until the agent has been gone for too long. What was asked for by a
request is kept: the next process of the agent goes on with it, or whoever leads its group.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from behaviours.hosting import UNNAMED, Hosting
from ontology.acl import AclMessage, Performative
from ontology.content import LANGUAGE, explain
from ontology.errors import Cause
from protocols.contract_net import CONTRACT_NET
from protocols.iterated_contract_net import ITERATED_CONTRACT_NET
from protocols.table import Role
from resilience.records import RecordsError

if TYPE_CHECKING:
    from behaviours.conversing import Seat

AWARDED = {CONTRACT_NET.name, ITERATED_CONTRACT_NET.name}
"""Protocols whose initiator can choose somebody else."""


async def hand_back(hosting: Hosting) -> int:
    """Fail what one agent was awarded, and refuse the calls that it looks at and those that come from now on.

    Where the agent has other replicas they go on with all of it, and nothing is said.

    Returns:
        How many conversations have ended by it.
    """
    try:
        if await hosting.has_replicas():
            return 0
    except RecordsError:
        return 0  # nothing could be written down, and so nothing said
    hosting.make_no_offers()
    return sum(_hand_back(hosting.me.local_name, seat) for seat in hosting.seats())


def _hand_back(name: str, seat: Seat) -> bool:
    is_ours = seat.conversation.role is Role.INITIATOR
    if is_ours or seat.protocol.name not in AWARDED or seat.chronicle.is_behind:
        return False
    if seat.conversation.conversation_id.startswith(UNNAMED):  # nobody could tell what we speak of
        return False
    for act, what in ((Performative.FAILURE, "what it was awarded"), (Performative.REFUSE, "the call")):
        if seat.may_say(act):
            text = f"{name} is being stopped, and gives back {what}"
            seat.say(
                AclMessage(
                    performative=act,
                    receiver=(seat.peer,),
                    content=explain(Cause.VANISHED, text),
                    language=LANGUAGE,
                    protocol=seat.protocol.name,
                    conversation_id=seat.conversation.conversation_id,
                )
            )
            return True
    return False
