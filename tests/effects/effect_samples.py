"""Commands, envelopes and journals that the tests of the effect boundary are told with."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from lash.core.causality import EffectSubject, ReplayKey, RuntimeInvocation, RuntimeScope
from lash.core.json import JsonObject
from lash.core.scopes import ProcessScope, TurnScope, journal_key
from lash.effects.commands import (
    CheckpointCommand,
    DurableStepCommand,
    EffectCommand,
    LlmCallCommand,
    PreparedToolCall,
    SyncExecutionEnvironmentCommand,
    ToolAttemptCommand,
    command_kind,
)
from lash.effects.envelope import RuntimeEffectEnvelope
from lash.effects.executors import LocalExecutor, PerformEnvelope, testing
from lash.effects.hosts import StorePromises
from lash.effects.journal import (
    AlreadyRecorded,
    Authority,
    Journal,
    JournalEntry,
    JournalRecord,
    Recorded,
    RecordResult,
    Retirement,
    RetireTarget,
    WriteAuthority,
)
from lash.effects.journaling import JournalingController, KnownSurroundings
from lash.effects.outcomes import EffectOutcome, ToolAttemptOutcome
from lash.effects.transitions import DriftPolicy
from lash.effects.waits.model import AwaitEventKey, CustomWait
from lash.llm.request import (
    HistoryRef,
    LlmMessage,
    LlmRequest,
    LlmRole,
    LlmScope,
    ModelSpec,
    TextBlock,
    ToolSpec,
)
from lash.runtime.stores import Store
from lash.sessions.accepting import Accepted
from lash.stores.memory import MemoryStore
from lash.testing.clock import VirtualClock
from lash.testing.conformance.samples import request
from lash.turn.tools import ToolOutput, ToolSuccess


def envelope(command: EffectCommand, key: str = "e1") -> RuntimeEffectEnvelope:
    """A command under a replay key."""
    return RuntimeEffectEnvelope(
        invocation=RuntimeInvocation(
            scope=RuntimeScope(session_id="s", turn_id="t1"),
            subject=EffectSubject(effect_id="1", kind=command_kind(command)),
            replay=ReplayKey(key=key),
        ),
        command=command,
    )


def attempt(
    args: JsonObject | None = None,
    *,
    tool_id: str = "look",
    call_id: str = "c1",
    number: int = 1,
    of: int = 3,
) -> ToolAttemptCommand:
    """One run of a tool."""
    call = PreparedToolCall(
        call_id=call_id, tool_id=tool_id, tool_name=tool_id, args=args or {"order": "7"}
    )
    return ToolAttemptCommand(call=call, attempt=number, max_attempts=of)


def found(payload: object = "on its way") -> ToolAttemptOutcome:
    """What a tool came back with."""
    return ToolAttemptOutcome(output=ToolOutput(outcome=ToolSuccess(payload=payload)))  # type: ignore[arg-type]  # any JSON


def says(text: str, role: LlmRole = "user") -> LlmMessage:
    """A message of one text."""
    return LlmMessage(role=role, blocks=(TextBlock(text=text),))


def llm_call(
    *messages: LlmMessage,
    history: HistoryRef = HistoryRef(count=0, digest=""),  # noqa: B008  immutable
    instructions: str = "Be brief.",
    model: str = "model-1",
    tools: Sequence[ToolSpec] = (),
) -> LlmCallCommand:
    """A model call."""
    return LlmCallCommand(
        request=LlmRequest(
            model=ModelSpec(provider="scripted", name=model),
            instructions=instructions,
            messages=messages or (says("hello"),),
            tools=tuple(tools),
            history=history,
            scope=LlmScope(session_id="s", request_id="r1"),
        )
    )


async def until(condition: Callable[[], object]) -> None:
    """Give way until a condition holds, as it must within a few turns of the loop."""
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to that")


def performing(run: Callable[[], Awaitable[EffectOutcome]]) -> LocalExecutor:
    """An executor of any kind that runs a function."""
    return testing(lambda _: run())


class Executor(LocalExecutor):
    """Counts its runs and gives a fixed outcome, or raises, after giving way a few times.

    Unlike a real one it may be used again, so that a test can see how often it would have been.
    """

    def __init__(self, outcome: EffectOutcome | Exception, *, steps: int = 0) -> None:
        super().__init__("testing", None, None)
        self.runs = 0
        self.finished = 0
        self._outcome = outcome
        self._steps = steps

    def claim(self, envelope: RuntimeEffectEnvelope) -> PerformEnvelope:
        return lambda _: self._go()

    async def _go(self) -> EffectOutcome:
        self.runs += 1
        for _ in range(self._steps):
            await asyncio.sleep(0)
        self.finished += 1
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome


class SlowJournal:
    """A journal that gives way before and after it does something, as one on a disk would."""

    def __init__(self, inner: Journal, steps: int = 3) -> None:
        self._inner = inner
        self._steps = steps
        self.writes: list[tuple[str, ...]] = []
        self.broken: Exception | None = None

    async def lookup(self, scope_key: str, replay_key: str) -> JournalRecord | None:
        await self._give_way()
        found = await self._inner.lookup(scope_key, replay_key)
        await self._give_way()
        return found

    async def record(
        self,
        scope_key: str,
        records: Sequence[JournalRecord],
        authority: Authority | None,
    ) -> RecordResult:
        await self._give_way()
        if self.broken is not None:
            raise self.broken
        result = await self._inner.record(scope_key, records, authority)
        self.writes.append(tuple(record.replay_key for record in records))
        await self._give_way()
        return result

    async def load_journal(self, scope_key: str) -> Sequence[JournalRecord]:
        return await self._inner.load_journal(scope_key)

    async def list_journal(self, scope_key: str) -> Sequence[JournalEntry]:
        return await self._inner.list_journal(scope_key)

    async def load_surroundings(self, digest: str) -> str | None:
        return await self._inner.load_surroundings(digest)

    async def reopen_scope(self, scope_key: str) -> None:
        await self._inner.reopen_scope(scope_key)

    async def finish_scope(
        self, scope_key: str, records: Sequence[JournalRecord]
    ) -> Recorded | AlreadyRecorded:
        return await self._inner.finish_scope(scope_key, records)

    async def retire(self, target: RetireTarget, *, limit: int = 500) -> Retirement:
        return await self._inner.retire(target, limit=limit)

    async def _give_way(self) -> None:
        for _ in range(self._steps):
            await asyncio.sleep(0)


TURN = TurnScope(session_id="s", turn_id="t1")
SCOPE = journal_key(TURN)
CHECKPOINT = CheckpointCommand(checkpoint="after_work")
SYNC = SyncExecutionEnvironmentCommand(update_machine_config=False)
TOOL = attempt()
STEP = DurableStepCommand(step_id="charge", input={"order": "7"})


KEY = AwaitEventKey(
    scope=ProcessScope(process_id="p"), wait=CustomWait(key="k"), key_id="id", signature="sig"
)
KEY_WIRE = (
    '{"key_id":"id","scope":{"process_id":"p","type":"process"},"signature":"sig",'
    '"wait":{"key":"k","type":"custom"}}'
)


class World:
    """A store, a clock and a leased session; each controller is a new drive of its turn."""

    def __init__(self, make_store: Callable[[VirtualClock], Store] = MemoryStore) -> None:
        self.clock = VirtualClock(start_ms=1_000_000)
        self.store: Store = make_store(self.clock)
        self.journal = SlowJournal(self.store)
        self.authority: Authority | None = None

    async def lease(self) -> None:
        accepted = await self.store.accept_turn(request("t1"))
        assert isinstance(accepted, Accepted)
        self.authority = WriteAuthority(session_id="s", fence=accepted.lease.fence)

    def promises(self) -> StorePromises:
        """The promises of the store, as a process of its own would see them."""
        return StorePromises(self.store, self.clock)

    def drive(
        self,
        *,
        journal: Journal | None = None,
        on_drift: DriftPolicy = "accept",
        fresh: bool = False,
        surroundings: KnownSurroundings | None = None,
        on_parked: Callable[[], None] | None = None,
        promises: StorePromises | None = None,
    ) -> JournalingController:
        return JournalingController(
            journal or self.journal,
            TURN,
            lambda: self.authority,
            self.clock,
            promises or self.promises(),
            on_drift=on_drift,
            fresh=fresh,
            surroundings=surroundings,
            on_parked=on_parked,
        )

    async def keys(self) -> list[str]:
        return [kept.replay_key for kept in await self.store.load_journal(SCOPE)]


async def asleep(clock: VirtualClock) -> None:
    await until(lambda: clock.sleeping)
