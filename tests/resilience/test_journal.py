"""One body of tests over the three bindings of `Journal`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from resilience.inbox import Claim, Standing
from resilience.journal import Depth, Effects, Outcome
from resilience.outbox import Outgoing
from tests.resilience.conftest import Bench
from tests.resilience.records import ME, NOW, PEER, hold, letter, outgoing, snapshot

NEW = Claim(standing=Standing.NEW, attempts=1, is_ours=True)
BODY, OTHER_BODY = "1" * 32, "2" * 32


def takeover(attempts: int) -> Claim:
    return Claim(standing=Standing.TAKEOVER, attempts=attempts, is_ours=True)


# -- claim, lease, done ----------------------------------------------------------------------------


async def test_a_message_is_handled_once_and_its_reply_kept(bench: Bench) -> None:
    journal = await bench.open()
    assert await journal.claim(hold(), BODY) == NEW
    assert await journal.commit(Effects(agent=ME, reply='"ä\x00'), hold())
    for owner in ("one", "two"):
        copy = await journal.claim(hold(owner), BODY)
        assert copy == Claim(standing=Standing.DONE, attempts=1, reply='"ä\x00')


async def test_while_one_works_the_others_are_told_so(bench: Bench) -> None:
    journal, replica = await bench.open(), await bench.open()
    await journal.claim(hold(), BODY)
    bench.elapse(bench.terms.lease - 1)
    assert await replica.claim(hold("two"), BODY) == Claim(standing=Standing.BUSY, attempts=1)
    assert not await replica.commit(Effects(agent=ME, put=(snapshot(),)), hold("two"))
    assert await replica.snapshots(ME) == ()


async def test_a_repeated_claim_is_answered_as_before(bench: Bench) -> None:
    journal = await bench.open()
    assert await journal.claim(hold(), BODY) == NEW
    bench.elapse(bench.terms.lease - 1)
    assert await journal.claim(hold(), BODY) == NEW
    bench.elapse(bench.terms.lease - 1)
    assert (await journal.claim(hold("two"), BODY)).standing is Standing.BUSY
    bench.elapse(2)
    assert await journal.claim(hold("two"), BODY) == takeover(2)
    assert await journal.claim(hold("two"), BODY) == takeover(2)


async def test_after_a_death_the_next_copy_takes_over_and_the_dead_one_changes_nothing(bench: Bench) -> None:
    journal, replica = await bench.open(), await bench.open()
    await journal.claim(hold(), BODY)
    bench.elapse(bench.terms.lease)
    assert await replica.claim(hold("two"), BODY) == takeover(2)
    late = Effects(agent=ME, reply="late", put=(snapshot(),), send=(outgoing(),), bury=(letter(),))
    assert not await journal.commit(late, hold())
    assert await journal.depth(ME) == Depth()
    assert await replica.commit(Effects(agent=ME, reply="good"), hold("two"))
    assert not await journal.commit(late, hold())
    assert (await journal.claim(hold(), BODY)).reply == "good"


async def test_who_is_known_to_be_dead_is_not_waited_for(bench: Bench) -> None:
    journal, replica = await bench.open(), await bench.open()
    await journal.claim(hold("dead"), BODY)
    assert (await replica.claim(hold("two"), BODY, ["other"])).standing is Standing.BUSY
    assert await replica.claim(hold("two"), BODY, ["other", "dead"]) == takeover(2)
    assert not await journal.commit(Effects(agent=ME), hold("dead"))
    assert (await replica.claim(hold("three"), BODY, ["other", "dead"])).standing is Standing.BUSY
    assert await replica.commit(Effects(agent=ME, reply="good"), hold("two"))
    done = await journal.claim(hold("three"), BODY, ["two"])
    assert (done.standing, done.reply) == (Standing.DONE, "good")


async def test_what_is_asked_for_at_once_is_done_in_order(bench: Bench) -> None:
    journal = await bench.open()
    working = Effects(agent=ME, outcome=Outcome.WORKING, put=(snapshot(),))
    await journal.claim(hold(), BODY)
    answers = await asyncio.gather(
        journal.commit(working, hold()),
        journal.claim(hold("two"), BODY, ["one"]),
        journal.commit(replace(working, remove=(snapshot().key,), put=()), hold()),
        journal.commit(working, hold("two")),
        journal.release(hold("two")),
        journal.commit(replace(working, remove=(snapshot().key,), put=()), hold("two")),
    )
    assert answers == [True, takeover(2), False, True, None, False]
    assert await journal.snapshots(ME) == (snapshot(),)


async def test_a_lease_is_prolonged_until_somebody_took_over(bench: Bench) -> None:
    journal = await bench.open()
    assert not await journal.renew(hold())
    await journal.claim(hold(), BODY)
    bench.elapse(bench.terms.lease - 1)
    assert await journal.renew(hold())
    bench.elapse(bench.terms.lease - 1)
    assert (await journal.claim(hold("two"), BODY)).standing is Standing.BUSY
    bench.elapse(2)
    assert await journal.renew(hold())  # it is late, and nobody has noticed
    assert (await journal.claim(hold("two"), BODY)).standing is Standing.BUSY
    bench.elapse(bench.terms.lease)
    await journal.claim(hold("two"), BODY)
    assert not await journal.renew(hold())
    assert await journal.commit(Effects(agent=ME), hold("two"))
    assert not await journal.renew(hold("two"))


async def test_what_is_given_back_counts_as_not_begun(bench: Bench) -> None:
    journal = await bench.open()
    await journal.claim(hold(), BODY)
    await journal.release(hold("two"))
    assert (await journal.claim(hold("two"), BODY)).standing is Standing.BUSY
    await journal.release(hold())
    await journal.release(hold())
    assert not await journal.commit(Effects(agent=ME), hold())
    assert await journal.claim(hold(), OTHER_BODY) == NEW
    await journal.release(hold())
    assert await journal.claim(hold("two"), BODY) == NEW
    bench.elapse(bench.terms.lease)
    assert await journal.claim(hold("three"), BODY) == takeover(2)
    await journal.release(hold("three"))
    assert await journal.claim(hold("four"), BODY) == takeover(2)
    await journal.commit(Effects(agent=ME), hold("four"))
    await journal.release(hold("four"))
    assert (await journal.claim(hold("five"), BODY)).standing is Standing.DONE


async def test_what_kills_its_handler_again_and_again_is_buried_once(bench: Bench) -> None:
    journal = await bench.open()
    most = bench.terms.most_attempts
    for attempt in range(1, most + 1):
        assert await journal.claim(hold(f"{attempt}"), BODY) == (NEW if attempt == 1 else takeover(attempt))
        bench.elapse(bench.terms.lease)
    ours = Claim(standing=Standing.DEAD, attempts=most + 1, is_ours=True)
    assert await journal.claim(hold("undertaker"), BODY) == ours
    assert (await journal.claim(hold("other"), BODY)).standing is Standing.BUSY
    bench.elapse(bench.terms.lease)  # the undertaker dies
    assert (await journal.claim(hold("next"), BODY)) == replace(ours, attempts=most + 2)
    burial = Effects(agent=ME, outcome=Outcome.DEAD, reply="it kills", bury=(letter("poison"),))
    assert not await journal.commit(burial, hold("undertaker"))
    assert await journal.commit(burial, hold("next"))
    assert await journal.commit(burial, hold("next"))
    for owner in ("next", "other"):
        again = await journal.claim(hold(owner), BODY)
        assert again == Claim(standing=Standing.DEAD, attempts=most + 2, reply="it kills")
    assert await journal.letters(ME) == (letter("poison"),)


async def test_another_body_under_a_known_id_is_refused(bench: Bench) -> None:
    journal = await bench.open()
    mismatch = Claim(standing=Standing.MISMATCH)
    await journal.claim(hold(), BODY)
    assert await journal.claim(hold("two"), OTHER_BODY) == mismatch
    assert await journal.claim(hold(), OTHER_BODY) == mismatch
    bench.elapse(bench.terms.lease)
    assert await journal.claim(hold("two"), OTHER_BODY) == mismatch
    assert await journal.commit(Effects(agent=ME, reply="r"), hold())
    assert await journal.claim(hold("two"), OTHER_BODY) == mismatch
    assert (await journal.claim(hold("two"), BODY)).reply == "r"


async def test_nobody_reaches_into_the_ids_of_another(bench: Bench) -> None:
    journal = await bench.open()
    keys = [
        hold(message_id="b:c", sender="a"),
        hold(message_id="c", sender="a:b"),
        hold(message_id="c", sender="a%3Ab"),
        hold(message_id="c", sender="a}:in:b"),
        hold(message_id="c", sender="A:B"),
        hold(message_id="x", sender="in:b", receiver="a"),
        hold(message_id="x", sender="b", receiver="a:in"),
        hold(message_id="ä\x00 \n", sender="ä@ö/🙂"),
        hold(message_id="ä\x00", sender="ä@ö/🙂"),
    ]
    for each in keys:
        assert await journal.claim(each, BODY) == NEW


async def test_an_id_is_remembered_for_the_retention_and_no_longer(bench: Bench) -> None:
    journal = await bench.open()
    await journal.claim(hold(), BODY)
    bench.elapse(bench.terms.lease)
    await journal.renew(hold())
    await journal.commit(Effects(agent=ME, reply="r"), hold())
    bench.elapse(bench.terms.retention - 1)
    assert (await journal.claim(hold("two"), BODY)).standing is Standing.DONE
    bench.elapse(1)
    assert not await journal.renew(hold())
    assert not await journal.commit(Effects(agent=ME), hold())
    assert await journal.claim(hold("two"), OTHER_BODY) == NEW


async def test_a_long_work_may_be_written_down_in_parts(bench: Bench) -> None:
    journal = await bench.open()
    await journal.claim(hold(), BODY)
    part = Effects(agent=ME, outcome=Outcome.WORKING, put=(snapshot(text="agreed"),), send=(outgoing(),))
    assert await journal.commit(part, hold())
    assert await journal.commit(part, hold())
    assert (await journal.claim(hold("two"), BODY)).standing is Standing.BUSY
    assert await journal.outgoing(ME) == (outgoing(),)
    assert await journal.commit(Effects(agent=ME, remove=("c1",)), hold())
    assert await journal.snapshots(ME) == ()


async def test_a_commit_that_is_repeated_writes_nothing_twice(bench: Bench) -> None:
    journal = await bench.open()
    await journal.claim(hold(), BODY)
    effects = Effects(agent=ME, reply="r", put=(snapshot(),), send=(outgoing(),), bury=(letter(),))
    assert await journal.commit(effects, hold())
    assert await journal.commit(Effects(agent=ME, settled=("o1",), remove=("c1",)))
    assert await journal.commit(replace(effects, reply="s"), hold())
    assert await journal.depth(ME) == Depth(letters=1, oldest_letter=NOW)
    assert (await journal.claim(hold(), BODY)).reply == "r"


async def test_of_many_that_want_a_message_one_gets_it(bench: Bench) -> None:
    replicas = [await bench.open() for _number in range(3)]
    claims = await asyncio.gather(
        *(replicas[number % 3].claim(hold(f"owner{number}"), BODY) for number in range(60))
    )
    assert sorted(claim.standing for claim in claims) == [Standing.BUSY] * 59 + [Standing.NEW]
    commits = await asyncio.gather(
        *(
            replicas[number % 3].commit(
                Effects(agent=ME, put=(snapshot(f"effect{number}"),)), hold(f"owner{number}")
            )
            for number in range(60)
        )
    )
    assert commits == [claim.standing is Standing.NEW for claim in claims]
    winner = commits.index(True)
    assert [each.key for each in await replicas[0].snapshots(ME)] == [f"effect{winner}"]


async def test_of_many_that_want_to_take_over_one_does(bench: Bench) -> None:
    journal, replica = await bench.open(), await bench.open()
    await journal.claim(hold("dead"), BODY)
    bench.elapse(bench.terms.lease)
    claims = await asyncio.gather(
        *((journal, replica)[number % 2].claim(hold(f"owner{number}"), BODY) for number in range(40))
    )
    assert sorted(claim.standing for claim in claims) == [Standing.BUSY] * 39 + [Standing.TAKEOVER]


# -- what a commit brings about --------------------------------------------------------------------


async def test_snapshots_are_kept_replaced_removed_and_ordered(bench: Bench) -> None:
    journal = await bench.open()
    written = [snapshot("ä", "\x00 1", form=12), snapshot("a", ""), snapshot("B b")]
    await journal.commit(Effects(agent=ME, put=tuple(written)))
    assert await journal.snapshots(ME) == (written[2], written[1], written[0])
    again = snapshot("a", "again", form=2)
    await journal.commit(Effects(agent=ME, put=(again,), remove=("ä", "absent")))
    assert await journal.snapshots(ME) == (written[2], again)
    assert await (await bench.open()).snapshots(ME) == (written[2], again)


async def test_one_snapshot_is_found_by_its_key(bench: Bench) -> None:
    journal = await bench.open()
    written = snapshot("conversation/a [*?]#000000", "\x00 1", form=12)
    await journal.commit(Effects(agent=ME, put=(written, snapshot("other"))))
    assert await (await bench.open()).snapshot(ME, written.key) == written
    assert await journal.snapshot(ME, "conversation/a [*?]") is None
    assert await journal.snapshot(PEER, written.key) is None


async def test_the_outbox_keeps_its_order(bench: Bench) -> None:
    journal = await bench.open()
    sent = [outgoing(name) for name in ("z", "a", "m:\x00 ä", "0")]
    for each in sent:
        await journal.commit(Effects(agent=ME, send=(each,)))
    sent += [outgoing(f"{number}") for number in range(11, 0, -1)]
    await journal.commit(Effects(agent=ME, send=tuple(sent[4:])))
    assert await journal.outgoing(ME) == tuple(sent)
    sent[1] = outgoing("a", attempts=1, next_try=NOW + timedelta(seconds=0.75))
    sent[2] = outgoing("m:\x00 ä", message="other")
    gone = outgoing("gone")
    await journal.commit(Effects(agent=ME, tried=(sent[1], gone), send=(sent[2],), settled=("z", "never")))
    assert await journal.outgoing(ME) == tuple(sent[1:])


async def test_another_replica_takes_messages_over_and_they_keep_their_places(bench: Bench) -> None:
    journal, other = await bench.open(), await bench.open()
    sent = [outgoing(name, replica="dead" if name in "bd" else "living") for name in "abcde"]
    await journal.commit(Effects(agent=ME, send=tuple(sent)))
    dead = [each for each in await other.outgoing(ME) if each.replica == "dead"]
    await journal.commit(Effects(agent=ME, settled=("d",)))  # meanwhile
    life = hold("other", "life", sender=f"{ME}/dead")
    await other.claim(life, BODY)
    taken = tuple(replace(each, replica="living") for each in dead)
    effects = Effects(agent=ME, outcome=Outcome.WORKING, tried=taken)
    assert not await journal.commit(effects, hold("third", "life", sender=f"{ME}/dead"))
    assert await other.commit(effects, life)
    left = await journal.outgoing(ME)
    assert [(each.id, each.replica) for each in left] == [(name, "living") for name in "abce"]


async def test_a_message_of_the_older_form_is_read(bench: Bench) -> None:
    journal = await bench.open()
    await journal.commit(Effects(agent=ME, send=(_Older(**vars(outgoing())), outgoing("o2", replica="a"))))
    older, newer = await journal.outgoing(ME)
    assert vars(older) == vars(outgoing(replica=""))
    assert newer == outgoing("o2", replica="a")


class _Older(Outgoing):
    """What was written when nobody knew of replicas."""

    def to_json(self) -> str:
        return (
            '{"v":1,"agent":"adder@localhost","id":"o1","to":"asker@localhost",'
            '"message":"{\\"\\u00e4\\": \\"\\\\u0000\\"}","conversation":"",'
            '"made":"2026-11-20T12:00:00.123456+00:00","expires":"2026-11-20T13:00:00.123456+00:00",'
            '"attempts":0,"next_try":"2026-11-20T12:00:00.123456+00:00"}'
        )


async def test_what_was_acknowledged_does_not_come_back_by_a_late_attempt(bench: Bench) -> None:
    journal = await bench.open()
    await journal.commit(Effects(agent=ME, send=(outgoing(),)))
    await journal.commit(Effects(agent=ME, settled=("o1",)))
    await journal.commit(Effects(agent=ME, tried=(outgoing(attempts=1),)))
    assert await journal.outgoing(ME) == ()


async def test_agents_are_apart(bench: Bench) -> None:
    journal = await bench.open()
    await journal.commit(Effects(agent=ME, put=(snapshot(),), send=(outgoing(),), bury=(letter(id="x"),)))
    other = "adder@localhost2"
    assert await journal.depth(other) == Depth()
    assert (await journal.outgoing(other), await journal.snapshots(other)) == ((), ())
    await journal.commit(Effects(agent=other, remove=("c1",), settled=("o1",), drop=("x",)))
    assert (await journal.letters(other), await journal.letter(other, "x")) == ((), None)
    assert not await journal.drop(other, "x")
    assert await journal.depth(ME) == Depth(outgoing=1, snapshots=1, letters=1, oldest_letter=NOW)


async def test_letters_are_filed_found_and_dropped(bench: Bench) -> None:
    journal = await bench.open()
    later = letter("second", when=NOW + timedelta(seconds=1), is_inbound=False, attempts=0)
    await journal.commit(Effects(agent=ME, bury=(letter("first"), later)))
    await journal.commit(Effects(agent=ME, bury=(letter("third", id="own"),)))
    found = await journal.letters(ME)
    assert found == (letter("third"), later, letter("first"))
    assert found[0].id == "own"
    assert len({each.id for each in found}) == 3
    assert await journal.letters(ME, limit=1) == found[:1]
    for each in found:
        assert await journal.letter(ME, each.id) == each
    assert await journal.letter(ME, f"{found[1].id}x") is None
    assert (await journal.depth(ME)).oldest_letter == NOW
    assert await journal.drop(ME, found[2].id)
    assert not await journal.drop(ME, found[2].id)
    assert await journal.depth(ME) == Depth(letters=2, oldest_letter=later.when)
    await journal.commit(Effects(agent=ME, drop=("own", "absent"), send=(outgoing(),)))
    assert await journal.letters(ME) == (later,)


async def test_a_letter_with_an_id_of_its_own_is_kept_once(bench: Bench) -> None:
    journal = await bench.open()
    for text in ("first", "second"):
        await journal.commit(Effects(agent=ME, bury=(letter(text, id="own"), letter("between"))))
    assert [each.text for each in await journal.letters(ME)] == ["between", "between", "first"]


async def test_the_oldest_letters_make_way(bench: Bench) -> None:
    bench.letters = 3
    journal = await bench.open()
    for number in range(5):
        await journal.commit(Effects(agent=ME, bury=(letter(f"{number}", id=f"id{number}"),)))
    assert await journal.letter(ME, "id1") is None
    assert [each.text for each in await journal.letters(ME)] == ["4", "3", "2"]
    assert (await journal.depth(ME)).letters == 3


async def test_an_empty_commit_is_one(bench: Bench) -> None:
    journal = await bench.open()
    assert await journal.commit(Effects(agent=ME))
    assert not await journal.commit(Effects(agent=ME), hold())


async def test_a_claim_of_another_agent_guards_nothing(bench: Bench) -> None:
    journal = await bench.open()
    await journal.claim(hold(receiver=PEER), BODY)
    with pytest.raises(ValueError, match="a commit of adder@localhost is guarded by a claim of asker"):
        await journal.commit(Effects(agent=ME, put=(snapshot(),)), hold(receiver=PEER))
    assert await journal.snapshots(ME) == ()


# -- the port --------------------------------------------------------------------------------------


async def test_a_call_may_be_cancelled(bench: Bench) -> None:
    journal = await bench.open()
    waiting = asyncio.ensure_future(journal.commit(Effects(agent=ME, put=(snapshot(),))))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert await journal.commit(Effects(agent=ME, put=(snapshot(),)))
    assert await journal.snapshots(ME) == (snapshot(),)


async def test_what_was_asked_for_is_done_before_the_end(bench: Bench) -> None:
    journal = await bench.open()
    await journal.check()
    tasks = [
        asyncio.ensure_future(journal.commit(Effects(agent=ME, put=(snapshot(f"{number}"),))))
        for number in range(20)
    ]
    assert await asyncio.gather(*tasks) == [True] * 20
    await journal.close()
    await journal.close()
    assert len(await (await bench.open()).snapshots(ME)) == 20
