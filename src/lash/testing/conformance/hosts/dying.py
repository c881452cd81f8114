"""Cold processes: hosts in processes of their own, which are killed without a warning."""

# ruff: noqa: D102  the name of a property says what it promises

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Literal

import msgspec

from lash.core.json import JsonValue
from lash.core.scopes import TurnScope
from lash.effects import executors
from lash.effects.commands import AwaitEventCommand
from lash.effects.outcomes import AwaitEventOutcome
from lash.effects.waits.model import (
    AlreadyResolved,
    AwaitEventKey,
    CustomWait,
    ResolveAccepted,
    ToolCompletionWait,
)
from lash.testing.clock import VirtualClock
from lash.testing.conformance.hosts.asking import OPERATION, Counted, done, envelope, step
from lash.testing.conformance.hosts.hosting import HostProperties, HostRig, S, unpaused
from lash.testing.conformance.hosts.roles import (
    Await,
    ExecuteAndHang,
    MintAndPark,
    Part,
    Replay,
    Resolve,
    argument_of,
    role_of,
)
from lash.testing.conformance.samples import NO, YES

#: A process that says nothing for so long is broken, however busy the machine is.
_DEADLINE_S = 60.0
_PARK = MintAndPark(scope=OPERATION, wait=CustomWait(key="approval"))


class ColdProcess:
    """A process that tells what it does as lines of JSON."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, command: Sequence[str]) -> "ColdProcess":
        """Start a process."""
        pipe = asyncio.subprocess.PIPE
        return cls(await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe))

    async def hear(self, name: str) -> JsonValue:
        """What the process tells next under a name; other things it tells before are passed over."""
        assert self._process.stdout is not None
        async with asyncio.timeout(_DEADLINE_S):
            while line := await self._process.stdout.readline():
                facts: Mapping[str, JsonValue] = msgspec.json.decode(line)
                if name in facts:
                    return facts[name]
            _, complaint = await self._process.communicate()
        raise AssertionError(f"the process ended without telling {name}:\n{complaint.decode()}")

    async def kill(self) -> None:
        """End the process as a power cut would, if it still runs, and wait until it is gone."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.communicate()


class ColdProcessProperties(HostProperties[S]):
    """What outlives the process that did it."""

    @unpaused
    async def test_a_wait_outlives_the_process_that_waited(self) -> None:
        async with self.rig("durable") as rig:
            async with self._process(rig, _PARK) as owner:
                key = _key(await owner.hear("key"))
                await owner.hear("parked")
            async with self._process(rig, Resolve(key=key, resolution=YES)) as resolver:
                assert await resolver.hear("answer") == {"status": "accepted"}
            async with self._process(rig, Await(key=key)) as observer:
                assert await observer.hear("resolution") == msgspec.to_builtins(YES)
            async with self._process(rig, _PARK) as successor:
                assert _key(await successor.hear("key")) == key
                assert await successor.hear("resolution") == msgspec.to_builtins(YES)
            # The successor recorded it, and this process finds both: the record and the promise.
            assert await rig.host.peek_await_event(key) == YES
            late = await rig.host.resolve_await_event(key, NO)
            assert late == AlreadyResolved(terminal=YES)
            if self.journals:
                asked = envelope(AwaitEventCommand(key=key), "wait")
                replayed = await rig.drive().execute(asked, executors.unavailable())
                assert replayed == AwaitEventOutcome(resolution=YES)

    @unpaused
    async def test_a_process_that_waits_is_woken_by_another_ones_resolution(self) -> None:
        async with self.rig("durable") as rig, self._process(rig, _PARK) as owner:
            key = _key(await owner.hear("key"))
            await owner.hear("parked")
            async with self._process(rig, Resolve(key=key, resolution=NO)) as resolver:
                assert await resolver.hear("answer") == {"status": "accepted"}
                assert await owner.hear("resolution") == msgspec.to_builtins(NO)

    @unpaused
    async def test_a_key_from_another_process_is_resolved_here_and_the_other_way_round(
        self,
    ) -> None:
        async with self.rig("durable") as rig:
            scope = TurnScope(session_id="s", turn_id="t1")
            mine = await rig.key(ToolCompletionWait(tool_call_id="c1"), scope)
            async with self._process(rig, Resolve(key=mine, resolution=YES)) as resolver:
                assert await resolver.hear("answer") == {"status": "accepted"}
            assert await rig.wait(mine) == YES
            async with self._process(rig, _PARK) as owner:
                theirs = _key(await owner.hear("key"))
                assert await rig.key() == theirs
                assert await rig.host.resolve_await_event(theirs, NO) == ResolveAccepted()
                assert await owner.hear("resolution") == msgspec.to_builtins(NO)

    @unpaused
    async def test_processes_that_open_a_new_substrate_at_once_mint_one_key(self) -> None:
        self.needs("durable")
        substrate = await self.make_substrate(VirtualClock())
        async with AsyncExitStack() as processes:
            parks = [self._started(substrate, _PARK) for _ in range(3)]
            started = await asyncio.gather(*map(processes.enter_async_context, parks))
            keys = [_key(await process.hear("key")) for process in started]
            assert keys == [keys[0]] * 3

    @unpaused
    async def test_an_effect_runs_again_unless_it_was_recorded(self, tmp_path: Path) -> None:
        ledger = tmp_path / "ledger"

        def charge(value: str, hang: Literal["before", "after"] = "after") -> Part:
            return ExecuteAndHang(scope=OPERATION, ledger=str(ledger), value=value, hang=hang)

        async with self.rig("durable", "journals") as rig:
            async with self._process(rig, charge("first", "before")) as first:
                await first.hear("ran")
            assert ledger.read_text() == "first\n"
            async with self._process(rig, charge("second")) as second:
                outcome = await second.hear("outcome")
            assert outcome == msgspec.to_builtins(done("second"))
            assert ledger.read_text() == "first\nsecond\n"
            async with self._process(rig, charge("third")) as third:
                assert await third.hear("outcome") == outcome
            async with self._process(rig, Replay(scope=OPERATION)) as fourth:
                assert await fourth.hear("outcome") == outcome
            assert ledger.read_text() == "first\nsecond\n"
            never = Counted(done("here"))
            here = await rig.drive().execute(envelope(step("charge"), "e1"), never.executor())
            assert (here, never.runs) == (done("second"), 0)

    def _process(self, rig: HostRig[S], part: Part) -> AbstractAsyncContextManager[ColdProcess]:
        return self._started(rig.substrate, part)

    @asynccontextmanager
    async def _started(self, substrate: S, part: Part) -> AsyncIterator[ColdProcess]:
        """A process that plays a part; it is killed at the end, wherever it is then."""
        command = self.cold_command(substrate, role_of(part), argument_of(part))
        process = await ColdProcess.start(command)
        try:
            yield process
        finally:
            await process.kill()


def _key(told: JsonValue) -> AwaitEventKey:
    return msgspec.convert(told, AwaitEventKey)
