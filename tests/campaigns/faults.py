"""Exported agents under faults at random moments, and what Restate's record says afterwards.

    python -m tests.campaigns.faults --faults 300 --seed 1

Every agent runs as its own process, against a real restate-server and the offline model. In each
round one of its documented calls is made, and one fault or two hit it at random moments, every
other time at the same one. After the round:

- it has completed, with the answer, the steps and the state of an undisturbed run, unless two
  faults together have used up the tries of a model call, which are three: that is counted apart;
- no step began again after its result was stored, and no more ran twice than were in flight;
- at the end nothing is left running, retrying or paused.

Exits with 1 when anything was found. A round can be repeated alone: `--seed 1 --only 17`.
"""

import argparse
import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.campaigns.scenarios import SCENARIOS, Scenario
from tests.helpers.fresh_home import fresh_home
from tests.helpers.outside import output_of
from tour import export, server
from tour.asgi import LoopThread, free_port
from tour.endpoint import resume_backing_off
from tour.journal import CUT_OFF, Journal, Step, read
from tour.model import OfflineModel

RUNNER = Path(__file__).with_name("agent_process.py")
LATENCY = 0.03  # of a model call: a run is long enough to be hit anywhere
DEADLINE = 60
USED_UP = "tries used up"
UNIQUE = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}|inv_\w+")


class Proxy:
    """Carries bytes between restate-server and an agent, and can cut every connection at once."""

    def __init__(self, thread: LoopThread, target: int) -> None:
        """Listen on any port of 127.0.0.1."""
        self._target = target
        self._writers: set[asyncio.StreamWriter] = set()
        self._thread = thread
        serving = asyncio.start_server(self._carry, "127.0.0.1", 0)
        self._server = thread.submit(serving).result(10)
        self.port: int = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Break every connection, as a pulled cable does."""
        self._thread.submit(self._cut()).result(10)

    async def _cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inward, outward = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, outward}
        self._writers |= ends
        try:
            both = (_pump(reader, outward), _pump(inward, writer))
            await asyncio.wait(
                [asyncio.ensure_future(way) for way in both], return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            self._writers -= ends
            for end in ends:
                end.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()


class Agent:
    """An exported notebook in a process of its own, behind a proxy."""

    def __init__(self, number: str, folder: Path, model: str, thread: LoopThread) -> None:
        """Export it, start it and register it."""
        export.export(number, folder)
        self._script = folder / "agent.py"
        port = free_port()
        self._env = os.environ | {"OPENAI_BASE_URL": model, "OPENAI_API_KEY": "none"}
        self._env |= {"PORT": str(port)}
        self._port = port
        self.proxy = Proxy(thread, port)
        self.start()
        body = {"uri": f"http://127.0.0.1:{self.proxy.port}", "force": True}
        reply = server.request("POST", "/deployments", json=body).json()
        self.services = [service["name"] for service in reply["services"]]

    def start(self) -> None:
        """Start the process and wait until it listens."""
        command = [sys.executable, str(RUNNER), str(self._script)]
        with self._script.with_name("agent.log").open("a") as log:
            self._process = subprocess.Popen(command, env=self._env, stdout=log, stderr=log)
        url = f"http://127.0.0.1:{self._port}/health"
        until(lambda: _answers(url), f"{self._script} listens")

    def kill(self) -> None:
        """End it as a power failure does."""
        self._process.kill()
        self._process.wait()


@dataclass
class World:
    """Everything that a campaign runs against."""

    model: OfflineModel
    agents: dict[str, Agent]
    seed: int
    chance: random.Random = field(default_factory=random.Random)
    reference: dict[tuple[str, int], "Outcome"] = field(default_factory=dict)

    def agent_of(self, scenario: Scenario) -> Agent:
        """Return the process that serves a scenario's agent."""
        return self.agents[scenario.notebook]


@dataclass(frozen=True)
class Outcome:
    """What a run has come to, without what differs from run to run."""

    answer: str
    steps: tuple[str, ...]
    state: str
    seconds: float


Fault = Callable[[World, Agent], None]


def kill_agent(world: World, agent: Agent) -> None:
    """SIGKILL the agent's process, and start it again after a moment."""
    agent.kill()
    time.sleep(world.chance.uniform(0, 0.2))
    agent.start()
    resume_backing_off(agent.services)


def kill_server(world: World, agent: Agent) -> None:
    """SIGKILL restate-server, and start it again on its data."""
    if pid := server.pid():
        os.kill(pid, signal.SIGKILL)
    server.ensure()


def cut(world: World, agent: Agent) -> None:
    """Break every connection between the server and the agent."""
    agent.proxy.cut()
    resume_backing_off(agent.services)


FAULTS: dict[str, Fault] = {
    "agent killed": kill_agent,
    "server killed": kill_server,
    "connections cut": cut,
    "model: 429": lambda world, _: world.model.fail(status=429, retry_after=0.05),
    "model: 500": lambda world, _: world.model.fail(status=500),
    "model: no answer": lambda world, _: world.model.fail(kind="timeout"),
    "model: reply cut": lambda world, _: world.model.fail(kind="cut"),
    "model: malformed": lambda world, _: world.model.fail(kind="malformed"),
}


def until(true: Callable[[], object], what: str, seconds: float = DEADLINE) -> None:
    """Wait for something, and say what it was when it does not come."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(0.02)


def _answers(url: str) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(url, timeout=2).is_success
    return False


def begin(scenario: Scenario, variant: int, key: str) -> str:
    """Send the call and return the invocation's id."""
    path = scenario.path.format(key=key)
    body = scenario.bodies[variant]
    reply = asyncio.run(server.ask("POST", f"{path}/send", json=body))
    return str(reply.raise_for_status().json()["invocationId"])


def finish(invocation: str) -> Journal:
    """Wait until it and all that it called have completed, approving what a human is asked."""
    end = time.monotonic() + DEADLINE
    while True:
        journal = read(invocation)
        open_ones = [each for each in journal.walk() if each.status != "completed"]
        if not open_ones:
            return journal
        if time.monotonic() > end:
            raise TimeoutError(f"not completed in {DEADLINE} s:\n{journal}")
        for each in open_ones:
            _approve(each)
        time.sleep(0.03)


def _approve(journal: Journal) -> None:
    for step in journal.entries:
        if step.kind == "awakeable" and step.state == "waiting":
            path = f"/restate/awakeables/{step.id}/resolve"
            asyncio.run(server.ask("POST", path, json=True))


def _that_count(journal: Journal) -> list[str]:
    """Return its steps, without those that failed and the pause after each (notebook 6)."""
    return [
        step.name for step in journal.entries if step.state != "failed" and step.name != "pause"
    ]


def outcome_of(journal: Journal, key: str, seconds: float) -> Outcome:
    """Take down what a finished run has come to."""
    answer = journal.failure or json.dumps(output_of(journal.id), ensure_ascii=False)
    columns = "service_name, key, value_utf8"
    rows = server.query(f"select {columns} from state where service_key = '{key}' order by 1, 2")
    steps = tuple(f"{j.target} {_that_count(j)} {j.state}" for j in journal.walk())

    def plain(text: str) -> str:
        return UNIQUE.sub("ID", text.replace(key, "KEY"))

    return Outcome(plain(answer), tuple(map(plain, steps)), plain(json.dumps(rows)), seconds)


def repeated(journal: Journal, allowed: int) -> Iterator[str]:
    """Yield what ran again though its result was stored, or more often than faults can explain."""
    again = 0
    for each in journal.walk():
        for number, step in enumerate(each.entries):
            again += max(0, len(step.attempts or ()) - 1)
            if _ran_after(step, each.entries[number + 1 :]):
                yield f"{each.target}: {step.name} ran again after its result was stored"
    if again > allowed:
        yield f"{again} tries ran again where {allowed} were in flight:\n{journal}"


def _ran_after(step: Step, later: tuple[Step, ...]) -> bool:
    """Tell whether a step ran once more after one had begun that needed its result.

    The server's clock tells what needed what, the agent's clock what ran when: the two differ by
    some milliseconds and are never compared with each other.
    """
    tries = step.attempts or ()
    needing = [each for each in later if step.ended and each.started > step.ended]
    begun = [each.attempts[0].started for each in needing if each.attempts]
    return any(attempt.started > min(begun) for attempt in tries) if begun else False


def used_up(journal: Journal, faults: list[str]) -> bool:
    """Tell whether two faults have used up the tries of a step, and the last was a model's.

    Restate counts failed attempts of an invocation towards a step's `max_attempts`: also those of
    a neighbour (notebook 5), and those to reach an agent that is away (notebook 6).
    """
    steps = [step for each in journal.walk() for step in each.entries if step.kind == "run"]
    failed = [str(step.tries[-1].error) for step in steps if step.state == "failed" and step.tries]
    of_model = [name for name in faults if name.startswith("model")]
    return bool(len(faults) > 1 and of_model) and not all(
        error.startswith((CUT_OFF, "TerminalError")) for error in failed
    )


def play(world: World, number: int) -> tuple[list[str], list[str]]:
    """Play a round: return the faults that were made and what was found."""
    chance = world.chance = random.Random(f"{world.seed} {number}")  # a round is its number's alone
    scenario = chance.choice([s for s in SCENARIOS if s.notebook in world.agents])
    variant = chance.randrange(len(scenario.bodies))
    chosen = chance.choices(sorted(FAULTS), k=1 if chance.random() < 0.7 else 2)
    expected = world.reference.get((scenario.path, variant))
    if expected is None:
        expected = undisturbed(scenario, variant, f"reference-{len(world.reference)}")
        world.reference[scenario.path, variant] = expected
    moments = sorted(chance.uniform(0, expected.seconds) for _ in chosen)
    if chance.random() < 0.5:
        moments = moments[:1] * len(chosen)  # two of them at once
    key = f"round-{number}"
    began = time.monotonic()
    invocation = begin(scenario, variant, key)
    for name, moment in zip(chosen, moments, strict=True):
        time.sleep(max(0.0, began + moment - time.monotonic()))
        FAULTS[name](world, world.agent_of(scenario))
    try:
        journal = finish(invocation)
    except TimeoutError as error:
        return chosen, [f"{scenario.path} {chosen}: {error}"]
    found = outcome_of(journal, key, 0)
    world.model.reset()  # a fault that came too late to be met
    world.model.latency = LATENCY
    problems = list(repeated(journal, len(chosen) * scenario.width))
    if found.answer != expected.answer and not scenario.sturdy and used_up(journal, chosen):
        chosen.append(USED_UP)
    else:
        problems += [
            f"{what}: {getattr(found, what)} instead of {getattr(expected, what)}"
            for what in ("answer", "steps", "state")
            if getattr(found, what) != getattr(expected, what)
        ]
    return chosen, [f"{scenario.path} {chosen}: {problem}" for problem in problems]


def undisturbed(scenario: Scenario, variant: int, key: str) -> Outcome:
    """Return what the call comes to when nothing happens to it."""
    began = time.monotonic()
    journal = finish(begin(scenario, variant, key))
    return outcome_of(journal, key, time.monotonic() - began)


def main() -> int:
    """Run the campaign and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--faults", type=int, default=300)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--only", type=int, help="the number of the one round to play")
    parser.add_argument("--notebooks", nargs="+", default=sorted({s.notebook for s in SCENARIOS}))
    chosen = parser.parse_args()
    with ExitStack() as stack:
        home = stack.enter_context(fresh_home())
        os.environ["OPENAI_API_KEY"] = "none"  # an agent's client is made when it is exported
        server.up()
        model = OfflineModel()
        stack.callback(model.stop)
        url = model.start()
        model.latency = LATENCY
        thread = LoopThread("proxies")
        agents = {}
        for number in chosen.notebooks:
            agents[number] = Agent(number, home / f"agent-{number}", url, thread)
            stack.callback(agents[number].kill)
        return report(World(model, agents, chosen.seed), chosen)


def report(world: World, chosen: argparse.Namespace) -> int:
    """Play rounds until enough faults were made; print what they were and what was found."""
    made, findings, number = Counter[str](), [], 0
    began = time.monotonic()
    while made.total() - made[USED_UP] < (1 if chosen.only else chosen.faults):
        number = chosen.only or number + 1
        faults, found = play(world, number)
        made.update(faults)
        for each in found:
            print(f"round {number}: {each}", flush=True)
        findings += found
    left = server.query("select target, status from sys_invocation where status <> 'completed'")
    used = made.pop(USED_UP, 0)
    for name, times in sorted(made.items()):
        print(f"{name:<18} {times:>5}")
    rounds = 1 if chosen.only else number
    took = f"{time.monotonic() - began:.0f} s"
    print(f"{'faults':<18} {made.total():>5}   rounds: {rounds}, in {took}")
    print(f"{'tries used up':<18} {used:>5}")
    print(f"{'found':<18} {len(findings):>5}   left over: {left or 'nothing'}; seed {chosen.seed}")
    return 1 if findings or left else 0


if __name__ == "__main__":
    raise SystemExit(main())
