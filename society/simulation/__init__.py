"""Agents in a simulated world: their own code on a virtual clock, over a network that a seed drives.

::

    async def scenario(world: Simulation) -> None:
        bob = await world.start(Adder, "bob")
        alice = await world.start(LocutionAgent, "alice")
        asking = world.run(alice, alice.request(bob.me, Add(a=1, b=2)))
        await world.crash("bob")
        await world.restart("bob")
        assert isinstance(await asking, Succeeded | Failed | Expired)

    def test_it_ends_whatever_happens() -> None:
        faults = Faults(drop=0.05, duplicate=0.1, reorder=0.1)
        assert explore(scenario, range(1000), faults=faults, invariants=[nothing_hangs]) == []

A scenario is a coroutine function; `simulate` runs it once, from a plain function, and returns a `Run` with
all that has happened. The same seed gives the same history, to the letter: a seed that fails is run again
with a debugger, or with more notes. An hour of timeouts takes no time.

What holds inside:

- Time is `world.clock` for agents, and the event loop's; `time.time` and `time.monotonic` follow, and so do
  SPADE's periodic behaviours. ``datetime.now()`` does not: an agent asks ``self.ports.clock()``.
- Chance is seeded: `world.rng` is the scenario's; the module `random`, `uuid.uuid4` and `secrets` as well.
- A socket, a thread, a child process or a pause is refused in one sentence, and fails the run.
- What an agent does belongs to its process. `crash` kills that as ``kill -9`` does: no ``finally`` runs and
  no goodbye is said (what is left of it is closed when the run is over), while its `Ports` (records, journal)
  are there for `restart`. What is to die with an agent is begun by ``world.run(agent, ...)``; what comes of
  it is a value, a `Crash` if the agent died.
- A set of objects is walked through in the order of their addresses in memory, in each run another one;
  tasks and futures are not. If the histories of a seed differ, look for such a set.
"""

from .happenings import Happening, written
from .hosts import Crash, SimulationError
from .invariants import (
    Invariant,
    done_once,
    handled_once,
    noted_once,
    nothing_hangs,
    nothing_lost,
    nothing_raised,
)
from .network import Faults
from .outside import Outside
from .running import Run, SeedFailed, explore, simulate
from .virtual_time import Stuck
from .world import Simulation

__all__ = [
    # running scenarios
    "simulate",
    "explore",
    "Run",
    "SeedFailed",
    "Faults",
    # what a scenario gets
    "Simulation",
    "Crash",
    "SimulationError",
    # what happened, and what must hold of it
    "Happening",
    "written",
    "Invariant",
    "nothing_hangs",
    "nothing_raised",
    "nothing_lost",
    "done_once",
    "handled_once",
    "noted_once",
    # what cannot be simulated
    "Outside",
    "Stuck",
]
