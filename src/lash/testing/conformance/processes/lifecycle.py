"""What may be done to a process in each of its states, and what it has become then."""

# ruff: noqa: D102  the name of a property says what it promises

from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec
import pytest

from lash.core.leases import Fence
from lash.processes.model import AbandonRequest, ExternalRef, ProcessState, RecoveryDisposition
from lash.processes.writes import (
    AlreadyApplied,
    ClaimRun,
    ClearWait,
    FenceLost,
    MarkWait,
    ParkRun,
    ProcessWrite,
    ReleaseRun,
    RequestAbandon,
    RunBusy,
    RunRefused,
    SetExternalRef,
    WriteRefused,
    WriteResult,
    Written,
)
from lash.testing.conformance.processes.registry import ProcessProperties, Registry
from lash.testing.conformance.processes.samples import (
    CODE,
    PERSON,
    START_MS,
    TIMER,
    cancel,
    rest,
    signal,
    wait,
)
from lash.testing.conformance.rig import expect
from lash.testing.conformance.samples import ANA, BEN, claim

_REQUEST = AbandonRequest(requested_by="ana", requested_at_ms=START_MS, reason="lost")
_REF = ExternalRef(backend="bank", id="tx-7", metadata={"é": [1]})
_NOBODY = Fence(fencing_token=0, nonce="nobody")

_State: TypeAlias = Literal[
    "new", "running", "waiting", "parked", "parked for code", "resting", "external", "ended"
]
#: What becomes of each thing that is done: what it appends, or why it appends nothing.
_Column: TypeAlias = tuple[str, str, str, str, str, str, str, str]

_OPERATIONS = (
    "claim",
    "wait",
    "resume",
    "signal",
    "cancel",
    "give up",
    "external ref",
    "say why not",
)

_HELD = "held"
_TAKEN = "process.started"
_LOST = "lost"
_NOTHING = "nothing"
#: No runner lacks the code of what it never runs.
_UNASKED = ""
_MATRIX: Mapping[_State, _Column] = {
    "new": (
        _TAKEN,
        _LOST,
        _NOTHING,
        "signal.hello",
        "process.cancel_requested",
        "process.abandon_requested",
        "process.external_ref_set",
        "process.parked",
    ),
    "running": (
        _HELD,
        "process.waiting",
        _NOTHING,
        "signal.hello",
        "process.cancel_requested",
        "process.abandon_requested",
        "process.external_ref_set",
        _NOTHING,
    ),
    "waiting": (
        _HELD,
        "process.waiting",
        "process.resumed",
        "signal.hello",
        "process.cancel_requested",
        "process.abandon_requested",
        "process.external_ref_set",
        _NOTHING,
    ),
    "parked": (
        "parked",
        _LOST,
        _NOTHING,
        "signal.hello",
        "process.cancel_requested",
        "process.abandon_requested",
        "process.external_ref_set",
        _NOTHING,
    ),
    "parked for code": (
        _TAKEN,
        _LOST,
        _NOTHING,
        "signal.hello",
        "process.cancel_requested",
        "process.abandon_requested",
        "process.external_ref_set",
        _NOTHING,
    ),
    "resting": (
        "resting",
        _LOST,
        _NOTHING,
        "signal.hello",
        "process.cancel_requested",
        "process.abandon_requested",
        "process.external_ref_set",
        "process.parked",
    ),
    "external": (
        "externally_owned",
        _LOST,
        _NOTHING,
        "signal.hello",
        "process.cancel_requested",
        "process.abandon_requested",
        "process.external_ref_set",
        _UNASKED,
    ),
    "ended": (
        "retired",
        _LOST,
        _NOTHING,
        "process_already_terminal",
        _NOTHING,
        "process_already_terminal",
        "process_already_terminal",
        _NOTHING,
    ),
}


async def brought(registry: Registry, state: _State) -> Fence:
    """A process in a state, and the fence of whoever runs it or ran it last."""
    if state in {"new", "external"}:
        owned: RecoveryDisposition = "externally_owned" if state == "external" else "rerunnable"
        await registry.register("p", owned)
        return _NOBODY
    lease = await registry.running()
    match state:
        case "waiting":
            await registry.wait(lease, wait())
        case "parked":
            await registry.write(ParkRun(parked=PERSON, fence=lease.fence))
        case "parked for code":
            await registry.write(ParkRun(parked=CODE, fence=lease.fence))
        case "resting":
            await registry.write(
                ReleaseRun(fence=lease.fence, retry=rest(registry.now_ms + 60_000))
            )
        case "ended":
            await registry.complete(lease)
    return lease.fence


def asked(operation: str, fence: Fence) -> ProcessWrite:
    """What is done, by whoever has a fence if it takes one."""
    writes: Mapping[str, ProcessWrite] = {
        "claim": ClaimRun(claim=claim(BEN)),
        "wait": MarkWait(fence=fence, wait=msgspec.structs.replace(wait(), kind=TIMER)),
        "resume": ClearWait(fence=fence),
        "signal": signal("hello", 1, "1"),
        "cancel": cancel(),
        "give up": RequestAbandon(request=_REQUEST),
        "external ref": SetExternalRef(external_ref=_REF),
        "say why not": ParkRun(parked=CODE),
    }
    return writes[operation]


def told(result: WriteResult) -> str:  # noqa: PLR0911  a case per answer
    """What a write appended, or why it appended nothing, in a word."""
    match result:
        case Written(event=event):
            return event.event_type if event else "written"
        case AlreadyApplied():
            return _NOTHING
        case FenceLost():
            return _LOST
        case RunRefused(why=why):
            return why
        case WriteRefused(code=code):
            return code
        case RunBusy():
            return _HELD
        case _:
            return type(result).__name__


class LifecycleProperties(ProcessProperties):
    """What may follow what."""

    @pytest.mark.parametrize("state", _MATRIX)
    @pytest.mark.parametrize("operation", _OPERATIONS)
    async def test_what_may_be_done_in_each_state(self, state: _State, operation: str) -> None:
        async with self.registry() as registry:
            fence = await brought(registry, state)
            await registry.interlude()
            before, everything = await registry.types(), await registry.everything()
            expected = _MATRIX[state][_OPERATIONS.index(operation)]
            if expected == _UNASKED:
                return
            assert told(await registry.result(asked(operation, fence))) == expected
            await registry.interlude()
            appends = expected.startswith(("process.", "signal."))
            assert await registry.types() == ([*before, expected] if appends else before)
            if not appends:
                assert await registry.everything() == everything

    async def test_where_the_work_is_done_is_written_once(self) -> None:
        async with self.registry() as registry:
            await registry.register("p", "externally_owned")
            await registry.write(SetExternalRef(external_ref=_REF))
            await registry.interlude()
            assert (await registry.load()).state.external_ref == _REF
            other = ExternalRef(backend="bank", id="tx-8")
            async with registry.untouched():
                expect(AlreadyApplied, await registry.result(SetExternalRef(external_ref=_REF)))
                code = await registry.refusal(SetExternalRef(external_ref=other))
                assert code == "process_external_ref_conflict"

    async def test_of_those_who_give_it_up_the_first_is_heard(self) -> None:
        async with self.registry() as registry:
            await registry.register()
            await registry.write(RequestAbandon(request=_REQUEST))
            other = AbandonRequest(requested_by="ben", requested_at_ms=START_MS)
            async with registry.untouched():
                expect(AlreadyApplied, await registry.result(RequestAbandon(request=other)))
            assert (await registry.load()).state.abandon_request == _REQUEST

    async def test_what_was_said_of_a_process_stays_in_its_state_after_its_end(self) -> None:
        async with self.registry() as registry:
            lease = await registry.running()
            await registry.write(SetExternalRef(external_ref=_REF))
            await registry.write(RequestAbandon(request=_REQUEST))
            await registry.write(cancel("no"))
            ended = await registry.complete(lease)
            await registry.interlude()
            state = expect(ProcessState, (await registry.load()).state)
            assert state == ended.state
            assert (state.external_ref, state.abandon_request) == (_REF, _REQUEST)
            assert state.cancel is not None
            assert state.first_started == state.started
            assert state.started is not None
            assert state.started.owner == ANA
