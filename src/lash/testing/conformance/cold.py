"""A cold process: opens a host over a substrate that others used before, and plays one role.

    python -m lash.testing.conformance.cold FACTORY SUBSTRATE ROLE JSON

FACTORY is `module:function` or `path/to/file.py:function`. The function is called with SUBSTRATE and
gives an asynchronous context manager whose value is the host, in time by the machine's clock. Roles and
what JSON holds are in `lash.testing.conformance.hosts.roles`. Everything is told as lines of JSON on
standard output, at once, because the process may be killed at any moment:

    {"key": …}          the key that was minted
    {"parked": true}    all that is under way waits
    {"answer": …}       what resolving was answered with
    {"resolution": …}   how a wait ended
    {"ran": true}       the step was performed
    {"outcome": …}      what the step came to, which is recorded
"""

import asyncio
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import ModuleType
from typing import TypeAlias, assert_never, cast

import msgspec

from lash.core.json import encode
from lash.effects import executors
from lash.effects.commands import AwaitEventCommand
from lash.effects.envelope import RuntimeEffectEnvelope
from lash.effects.hosts import EffectHost
from lash.effects.outcomes import AwaitEventOutcome, EffectOutcome
from lash.testing.conformance.hosts.asking import done, envelope, step
from lash.testing.conformance.hosts.roles import (
    ROLES,
    Await,
    ExecuteAndHang,
    MintAndPark,
    Part,
    Replay,
    Resolve,
)

OpenHost: TypeAlias = Callable[[str], AbstractAsyncContextManager[EffectHost]]

_STEP = envelope(step("charge"), "e1")


def say(**facts: object) -> None:
    """Tell whoever started this process something."""
    sys.stdout.write(encode(facts).decode() + "\n")
    sys.stdout.flush()


async def play(host: EffectHost, part: Part) -> None:
    """Play a role."""
    match part:
        case MintAndPark(scope=scope, wait=wait):
            key = await host.await_event_key(scope, wait)
            say(key=key)
            drive = host.scoped(scope, on_parked=lambda: say(parked=True))
            asked = envelope(AwaitEventCommand(key=key), "wait")
            outcome = await drive.execute(asked, executors.awaiting())
            if isinstance(outcome, AwaitEventOutcome):
                say(resolution=outcome.resolution)
        case Resolve(key=key, resolution=resolution):
            say(answer=await host.resolve_await_event(key, resolution))
        case Await(key=key):
            say(resolution=await host.await_await_event(key))
        case ExecuteAndHang():
            await _execute_and_hang(host, part)
        case Replay(scope=scope):
            say(outcome=await host.scoped(scope).execute(_STEP, executors.unavailable()))
        case _:
            assert_never(part)


async def _execute_and_hang(host: EffectHost, part: ExecuteAndHang) -> None:
    for_ever = asyncio.get_running_loop().create_future()

    async def charge(_: RuntimeEffectEnvelope) -> EffectOutcome:
        _append(Path(part.ledger), part.value)
        say(ran=True)
        if part.hang == "before":
            await for_ever
        return done(part.value)

    say(outcome=await host.scoped(part.scope).execute(_STEP, executors.testing(charge)))
    await for_ever


def _append(ledger: Path, line: str) -> None:
    """One write, which outlives the process however it ends."""
    file = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, f"{line}\n".encode())
    finally:
        os.close(file)


def find(factory: str) -> OpenHost:
    """The function that opens a host, by its module's name or by the path of its file."""
    place, _, name = factory.rpartition(":")
    return cast("OpenHost", getattr(_module(place), name))


def _module(place: str) -> ModuleType:
    if not place.endswith(".py"):
        return importlib.import_module(place)
    path = Path(place).resolve()
    sys.path.insert(0, str(path.parent))  # as if it had been run, so that it finds its neighbours
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(place)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


async def main(arguments: Sequence[str]) -> None:
    """Open the host and play the role."""
    factory, substrate, role, argument = arguments
    part = msgspec.json.decode(argument, type=ROLES[role])
    async with find(factory)(substrate) as host:
        await play(host, part)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
