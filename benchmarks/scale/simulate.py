"""A simulated sweep: 1,000 encoders x 40 tasks x 25 folds on 64 GPUs and a shared file system.

``python -m benchmarks.scale.simulate --json FILE`` runs the plan event by event under several ways
of sharing it. Times of fits are those of the published cells of CAMUS, which are computed in 25
folds. What this machine cannot measure is an assumption, a field of ``World``: the speed of a GPU,
the network file system, and how often a node is lost.

The file system answers so many requests a second, one after the other, each after a delay. A
process that waits asks again every half second.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import random
from collections.abc import Generator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results"


@dataclass(frozen=True, slots=True)
class World:
    """The plan, the machines and their speeds.

    Attributes:
        encoders: Number of encoders.
        groups: Number of sets of features of each encoder (a data set and its frames, for
            instance).
        tasks: Number of tasks of each set of features; every task is a cell.
        gpus: Number of GPUs.
        slots: Processes that share a GPU. One at a time computes features on it.
        embed: Median time of a set of features on a GPU in s.
        spread: Standard deviation of the logarithm of this time, over encoders.
        requests: Requests that the file system answers in a second.
        delay: Delay of a request in s.
        record: Requests that reading a record takes (open, read, close).
        save: Requests that saving a cell takes: its claim, two files, and the log.
        poll: Requests that a waiting process makes for one claim.
        start: Time of the start of a process in s.
        start_requests: Requests of the start of a process, which imports some thousand modules.
        kept: Hours after which a node is lost; 0 for never.
        seed: Seed of the times.
    """

    encoders: int = 1000
    groups: int = 8
    tasks: int = 5
    gpus: int = 64
    slots: int = 1
    embed: float = 60.0
    spread: float = 1.0
    requests: float = 5000.0
    delay: float = 0.0005
    record: int = 3
    save: int = 20
    poll: int = 8
    start: float = 10.0
    start_requests: int = 12000
    kept: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Way:
    """How the plan is shared.

    Attributes:
        name: What the table calls it.
        is_units: Whether encoders are handed out as units; otherwise each GPU has a run of the
            whole plan.
        postpones: Whether a run goes on to other features while another run computes some.
        look_pause: Seconds between two looks of the run that watches units; 0 for the pause that
            keeps looks to a twentieth of the time.
        shards: Parts of a set of features that are kept when a process is lost.
    """

    name: str
    is_units: bool
    postpones: bool = True
    look_pause: float = 0.0
    shards: int = 1


@dataclass(slots=True)
class Outcome:
    """What a simulated sweep took.

    Attributes:
        way: How the plan was shared.
        hours: Time until the last cell was saved.
        embedding: Part of the time of all GPUs in which features were computed.
        requests: Requests to the file system in a second, the mean.
        busy: Part of the time in which the file system was busy.
        longest: Longest time in s that a process waited for the file system at once.
        polls: Part of all requests that waiting and watching processes made.
        lost_hours: Hours of GPUs that were lost with nodes.
    """

    way: str
    hours: float = 0.0
    embedding: float = 0.0
    requests: float = 0.0
    busy: float = 0.0
    longest: float = 0.0
    polls: float = 0.0
    lost_hours: float = 0.0


Steps = Generator[Any, None, None]


class Event:
    """Something that processes wait for."""

    def __init__(self) -> None:
        self.is_over = False
        self.waiting: list[Steps] = []


class Simulation:
    """A queue of processes in time, and the file system that they share."""

    def __init__(self, world: World, way: Way, times: list[float]) -> None:
        """Draw the times of encoders; ``times`` are those of fits."""
        self.world = world
        self.way = way
        self.times = times
        self.random = random.Random(world.seed)
        self.embeds = [
            world.embed * self.random.lognormvariate(0.0, world.spread)
            for _ in range(world.encoders)
        ]
        self.now = 0.0
        self.free = 0.0  # when the file system will have answered everything
        self.busy = 0.0
        self.requests = 0.0
        self.polls = 0.0
        self.longest = 0.0
        self.embedding = 0.0
        self.lost = 0.0
        self.left = world.encoders * world.groups * world.tasks
        self.claims: dict[tuple[int, int], Event] = {}
        self.cells: dict[tuple[int, int], list[float]] = {}
        self.queue: list[tuple[float, int, Steps]] = []
        self.numbers = itertools.count()

    def begin(self, steps: Steps, at: float) -> None:
        """Let a process begin at a time."""
        heapq.heappush(self.queue, (at, next(self.numbers), steps))

    def run(self) -> None:
        """Go on until every cell is saved."""
        while self.queue and self.left:
            self.now, _, steps = heapq.heappop(self.queue)
            self._advance(steps)

    def _advance(self, steps: Steps) -> None:
        wanted = next(steps, None)
        if isinstance(wanted, Event) and not wanted.is_over:
            wanted.waiting.append(steps)
        elif isinstance(wanted, Event):
            self.begin(steps, self.now)
        elif wanted is not None:
            self.begin(steps, self.now + wanted)

    def end(self, event: Event) -> None:
        """Wake whoever waits for an event; each notices within half a second."""
        event.is_over = True
        for steps in event.waiting:
            self.begin(steps, self.now + self.random.uniform(0.0, 0.5))
        event.waiting = []

    def ask(self, requests: float) -> float:
        """Ask the file system; return how long the answers take."""
        work = requests / self.world.requests
        begins = max(self.now, self.free)
        self.free = begins + work
        self.busy += work
        self.requests += requests
        # A process sends one request after the other.
        taken = max(self.free - self.now, requests * self.world.delay)
        self.longest = max(self.longest, taken)
        return taken

    def poll_meanwhile(self, seconds: float, claims: int) -> None:
        """Count what a process asks while it waits."""
        requests = 2.0 * seconds * self.world.poll * claims
        self.requests += requests
        self.polls += requests
        self.busy += requests / self.world.requests

    def fits_of(self, group: tuple[int, int]) -> list[float]:
        """Times of the cells of a group that nobody has begun."""
        if group not in self.cells:
            self.cells[group] = [self.random.choice(self.times) for _ in range(self.world.tasks)]
        return self.cells[group]


def embedded(world: Simulation, group: tuple[int, int], gpu: list[Event | None]) -> Steps:
    """Compute the features of a group on a GPU that several processes may share."""
    while gpu[0] is not None:
        yield gpu[0]
    mine = gpu[0] = Event()
    seconds = world.embeds[group[0]]
    kept = world.world.kept * 3600
    while kept and world.random.random() < seconds / kept:
        # The node is lost somewhere on the way; finished shards are kept.
        done = world.random.random()
        shards = world.way.shards
        saved = int(done * shards) / shards
        world.lost += (done - saved) * seconds
        yield done * seconds + world.world.start + world.ask(world.world.start_requests)
        seconds *= 1 - saved
    world.embedding += seconds
    yield seconds
    gpu[0] = None
    world.end(mine)
    yield world.ask(world.world.save)


def unit(world: Simulation, todo: list[int], gpu: list[Event | None]) -> Steps:
    """A slot of a cluster, which takes one encoder after the other."""
    yield world.world.start + world.ask(world.world.start_requests)
    while todo:
        encoder = todo.pop()
        for number in range(world.world.groups):
            group = (encoder, number)
            yield world.ask(world.world.tasks)
            yield from embedded(world, group, gpu)
            for seconds in world.fits_of(group):
                yield seconds
                yield world.ask(world.world.save)
                world.left -= 1


def watching(world: Simulation) -> Steps:
    """The run that follows the units in the folder of results."""
    while True:
        began = world.now
        yield world.ask(world.left)
        world.polls += world.left
        taken = world.now - began
        yield world.way.look_pause or max(0.5, 20.0 * taken)


def whole_run(world: Simulation, gpu: list[Event | None]) -> Steps:
    """A run of the whole plan beside others, which share it by claims."""
    n_cells = world.world.encoders * world.world.groups * world.world.tasks
    yield world.world.start + world.ask(world.world.start_requests)
    yield world.ask(n_cells)  # which cells are finished
    waiting = list(itertools.product(range(world.world.encoders), range(world.world.groups)))
    must_wait = not world.way.postpones
    while waiting:
        postponed: list[tuple[int, int]] = []
        for group in waiting:
            if not world.fits_of(group):
                yield world.ask(world.world.tasks * world.world.record)
                continue
            yield world.ask(world.world.tasks + world.world.poll)
            event = world.claims.get(group)
            if event is not None and not event.is_over and not must_wait:
                postponed.append(group)
                continue
            must_wait = not world.way.postpones
            yield from _shared_group(world, group, gpu)
        must_wait = must_wait or len(postponed) == len(waiting)
        waiting = postponed


def _shared_group(world: Simulation, group: tuple[int, int], gpu: list[Event | None]) -> Steps:
    """Compute the features of a group or wait for them, and take cells that nobody has begun."""
    event = world.claims.get(group)
    if event is None:
        event = world.claims[group] = Event()
        yield from embedded(world, group, gpu)
        world.end(event)
    elif not event.is_over:
        began = world.now
        yield event
        world.poll_meanwhile(world.now - began, 1)
    fits = world.fits_of(group)
    while fits:
        yield fits.pop()
        yield world.ask(world.world.save)
        world.left -= 1


def simulated(world: World, way: Way, times: list[float]) -> Outcome:
    """Run a plan in simulated time.

    Args:
        world: The plan and the machines.
        way: How it is shared.
        times: Times of fits in s, of which each cell draws one.
    """
    simulation = Simulation(world, way, times)
    # The costliest encoder comes first, as in a run; pop takes the last one.
    todo = sorted(range(world.encoders), key=lambda encoder: simulation.embeds[encoder])
    if way.is_units:
        simulation.begin(watching(simulation), 0.0)
    for _ in range(world.gpus):
        gpu: list[Event | None] = [None]
        for _ in range(world.slots):
            steps = unit(simulation, todo, gpu) if way.is_units else whole_run(simulation, gpu)
            simulation.begin(steps, simulation.random.uniform(0.0, 5.0))
    simulation.run()
    seconds = simulation.now
    return Outcome(
        way.name,
        hours=round(seconds / 3600, 1),
        embedding=round(simulation.embedding / seconds / world.gpus, 3),
        requests=round(simulation.requests / seconds, 1),
        busy=round(simulation.busy / seconds, 3),
        longest=round(simulation.longest, 4),
        polls=round(simulation.polls / simulation.requests, 3),
        lost_hours=round(simulation.lost / 3600, 1),
    )


def fit_times(results: Path = RESULTS) -> list[float]:
    """Read how long the published cells in 25 folds took, in s.

    Args:
        results: Folder of the published results.
    """
    times: list[float] = []
    for path in sorted(results.rglob("cv5x5-*.json")):
        seconds = json.loads(path.read_text())["provenance"].get("seconds")
        if seconds is not None:
            times.append(float(seconds))
    return times


WAYS: tuple[tuple[Way, dict[str, Any]], ...] = (
    (Way("64 runs of the plan, before", is_units=False, postpones=False), {}),
    (Way("64 runs of the plan", is_units=False), {}),
    (Way("units of a cluster, before", is_units=True, look_pause=0.5), {}),
    (Way("units of a cluster", is_units=True), {}),
    (Way("units, two on each GPU", is_units=True), {"slots": 2}),
    (Way("units, three on each GPU", is_units=True), {"slots": 3}),
    (Way("units, a slow file system", is_units=True), {"requests": 500.0, "delay": 0.01}),
    (Way("units, nodes lost every 4 h, no shards", is_units=True), {"kept": 4.0}),
    (Way("units, nodes lost every 4 h, 5 shards", is_units=True, shards=5), {"kept": 4.0}),
)
"""What is simulated: a way of sharing, and what differs in its world."""


def main() -> None:
    """Simulate every way, and print what each took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoders", type=int, default=1000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    times = fit_times()
    outcomes: list[Outcome] = []
    for way, changes in WAYS:
        world = World(encoders=options.encoders, **changes)
        outcomes.append(simulated(world, way, times))
        print(outcomes[-1], flush=True)
    if options.json:
        facts = {"world": asdict(World(encoders=options.encoders)), "n_times": len(times)}
        facts["median_fit"] = sorted(times)[len(times) // 2]
        facts["outcomes"] = [asdict(outcome) for outcome in outcomes]
        options.json.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
