"""Registering: one id is one process for ever, and row, observers and environment are one write."""

# ruff: noqa: D102  the name of a property says what it promises

import asyncio

import msgspec

from lash.core.causality import TurnCauseRef
from lash.core.leases import LeaseState
from lash.processes.listing import Upserted
from lash.processes.model import (
    EngineInput,
    HostOriginator,
    ProcessIdentity,
    ProcessProvenance,
    ProcessStarted,
    ProcessState,
    SessionTurnInput,
)
from lash.processes.registration import (
    AlreadyRegistered,
    Registered,
    RegistrationConflict,
    env_ref_of,
)
from lash.processes.writes import ProcessUnknown
from lash.testing.conformance.processes.registry import ProcessProperties, of_session
from lash.testing.conformance.processes.samples import (
    APPROVE,
    ENV,
    EVENT_TYPES,
    HELLO,
    NOTE,
    START_MS,
    Changes,
    note,
    refund,
)
from lash.testing.conformance.rig import expect
from lash.testing.conformance.samples import ANA, BEN, TTL_MS

_OTHER = ProcessIdentity(kind="python", definition="refund", version="2")

#: What another process under the id may have, each one field.
_DIFFERENT: tuple[Changes, ...] = (
    {"input": EngineInput(kind="python", payload={"order": "o-8"})},
    {"identity": _OTHER},
    {"provenance": of_session("s")},
    {"event_types": (NOTE,)},
    {"open_signals": True},
    {"env_ref": "process-env:v1:sha256:0"},
    {"max_attempts": 3},
    {"wake_session_id": "s"},
)


class RegisterProperties(ProcessProperties):
    """`register_process`."""

    async def test_a_registered_process_is_running_and_nobody_has_begun_it(self) -> None:
        async with self.registry() as registry:
            asked = refund(wake_session_id="s")
            answer = expect(Registered, await registry.ask(asked))
            await registry.interlude()
            record = await registry.load()
            assert record == answer.record
            assert record.registration == asked
            assert (record.created_at_ms, record.change) == (START_MS, 1)
            assert record.lease == LeaseState()
            assert record.state == ProcessState(
                status="running", sequence=0, updated_at_ms=START_MS, wake_session_id="s"
            )
            assert (answer.lease, await registry.log(), await registry.types()) == (None, [], [])
            assert await registry.runnable() == ["p"]

    async def test_a_registration_comes_back_as_it_was_given(self) -> None:
        async with self.registry() as registry:
            provenance = ProcessProvenance(
                originator=HostOriginator(scope="cron é"),
                caused_by=TurnCauseRef(session_id="s", turn_id="t1"),
                parent_id="parent",
            )
            turn = SessionTurnInput(
                session_id="s:child",
                agent_name="clerk",
                agent_version="3",
                turn_input={"items": ["\u0000", {"é": None}]},
                relation={"depth": 1.5},
            )
            given = refund(
                input=turn,
                identity=ProcessIdentity(kind="session_turn", label="clerk ☃"),
                provenance=provenance,
                event_types=(APPROVE, HELLO),
                open_signals=True,
                env_ref=None,
                max_attempts=5,
                wake_session_id="s",
            )
            await registry.ask(given)
            await registry.interlude()
            assert (await registry.load()).registration == given

    async def test_the_same_registration_again_is_the_same_process(self) -> None:
        async with self.registry() as registry:
            asked = refund(provenance=of_session("s"))
            first = expect(Registered, await registry.ask(asked, "s", "other")).record
            registry.later()
            shuffled = refund(provenance=of_session("s"), event_types=tuple(reversed(EVENT_TYPES)))
            async with registry.untouched():
                again = await registry.ask(shuffled, "other", "s", "other")
            assert expect(AlreadyRegistered, again).record == first

    async def test_the_same_registration_is_known_whatever_became_of_the_process(self) -> None:
        async with self.registry() as registry:
            lease = await registry.running()
            await registry.append(note(1))
            ended = await registry.complete(lease)
            async with registry.untouched():
                again = await registry.ask(refund(), owner=BEN)
            assert expect(AlreadyRegistered, again).record == ended

    async def test_any_other_field_is_a_conflict_that_names_it(self) -> None:
        async with self.registry() as registry:
            first = expect(Registered, await registry.ask(refund())).record
            for other in _DIFFERENT:
                async with registry.untouched():
                    answer = await registry.ask(refund(**other), owner=ANA)
                (name,) = other
                assert answer == RegistrationConflict(record=first, differs=(name,))
            async with registry.untouched():
                owned = await registry.ask(refund(disposition="owner_bound"))
                seen = await registry.ask(refund(), "s")
            assert expect(RegistrationConflict, owned).differs == ("disposition",)
            assert expect(RegistrationConflict, seen).differs == ("observers",)

    async def test_registration_and_observers_and_environment_are_one_write(self) -> None:
        async with self.registry() as registry:
            await registry.ask(refund(), "zoe", "s", "zoe")
            await registry.interlude()
            assert list(await registry.store.observers_of("p")) == ["s", "zoe"]
            assert await registry.store.load_env(env_ref_of(ENV)) == ENV
            other = msgspec.structs.replace(ENV, agent_name="sales")
            await registry.ask(refund(env_ref=env_ref_of(other)), "late")
            await registry.interlude()
            assert list(await registry.store.observers_of("p")) == ["s", "zoe"]

    async def test_an_environment_is_found_by_its_content_only(self) -> None:
        async with self.registry() as registry:
            await registry.ask(refund("p"))
            await registry.ask(refund("q"))
            await registry.interlude()
            assert await registry.store.load_env(env_ref_of(ENV)) == ENV
            assert await registry.store.load_env("process-env:v1:sha256:0") is None

    async def test_a_process_may_exist_that_nobody_sees(self) -> None:
        async with self.registry() as registry:
            await registry.register()
            await registry.interlude()
            assert list(await registry.store.observers_of("p")) == []
            assert list(await registry.store.observers_of("unknown")) == []

    async def test_whoever_registers_a_process_may_begin_it_in_the_same_write(self) -> None:
        async with self.registry() as registry:
            answer = expect(Registered, await registry.ask(refund(), owner=ANA))
            await registry.interlude()
            record = await registry.load()
            started = ProcessStarted(owner=ANA, started_at_ms=START_MS, fencing_token=1, attempt=1)
            assert record == answer.record
            assert record.lease.held == answer.lease
            assert expect(ProcessState, record.state).started == started
            assert (record.state.sequence, record.change) == (1, 1)
            (event,) = await registry.log()
            assert (event.event_type, event.replay_key) == (
                "process.started",
                "process:p:started:1",
            )
            assert answer.lease is not None
            assert answer.lease.expires_at_ms == START_MS + TTL_MS
            async with registry.untouched():
                again = await registry.ask(refund(), owner=BEN)
            expect(AlreadyRegistered, again)

    async def test_work_that_is_done_elsewhere_is_begun_by_nobody(self) -> None:
        async with self.registry() as registry:
            asked = refund(disposition="externally_owned")
            answer = expect(Registered, await registry.ask(asked, owner=ANA))
            assert answer.lease is None
            await registry.interlude()
            record = await registry.load()
            assert (record.lease, record.state.started) == (LeaseState(), None)
            assert await registry.runnable() == []

    async def test_of_many_who_register_one_process_at_once_one_registers_it(self) -> None:
        async with self.registry() as registry:
            owners = [ANA, BEN] * 4
            answers = await asyncio.gather(
                *(registry.ask(refund(), "s", owner=owner) for owner in owners)
            )
            (new,) = [answer for answer in answers if isinstance(answer, Registered)]
            others = [answer for answer in answers if answer is not new]
            assert {expect(AlreadyRegistered, other).record.lease for other in others} == {
                LeaseState(fencing_token=1, held=new.lease)
            }
            await registry.interlude()
            assert await registry.types() == ["process.started"]
            (change,) = (await registry.store.processes_changed_since(0)).changes
            assert expect(Upserted, change).record == new.record

    async def test_of_different_processes_under_one_id_the_first_stands(self) -> None:
        async with self.registry() as registry:
            asked = [refund(max_attempts=n) for n in range(1, 9)]
            answers = await asyncio.gather(*(registry.ask(each) for each in asked))
            (place,) = [n for n, answer in enumerate(answers) if isinstance(answer, Registered)]
            others = [answer for n, answer in enumerate(answers) if n != place]
            assert all(
                expect(RegistrationConflict, other).differs == ("max_attempts",) for other in others
            )
            await registry.interlude()
            assert (await registry.load()).registration == asked[place]

    async def test_ids_are_apart(self) -> None:
        async with self.registry() as registry:
            names = ["p", "P", "p:1", "p%", "p_", "p ", "pé"]
            for name in names:
                await registry.register(name)
            await registry.append(note(1), "p_")
            await registry.interlude()
            assert await registry.listed() == sorted(names)
            counts = {name: len(await registry.log(name)) for name in names}
            assert counts == dict.fromkeys(names, 0) | {"p_": 1}

    async def test_what_was_never_registered_is_unknown(self) -> None:
        async with self.registry() as registry:
            await registry.register("other")
            store = registry.store
            async with registry.untouched():
                assert await store.load_process("p") is None
                assert await store.write_process("p", note(1)) == ProcessUnknown()
                assert list(await store.process_events("p")) == []
                assert list(await store.recent_events("p", 5)) == []
                assert await store.count_events("p", "note", 9) == 0
                assert list(await store.list_wakes("p")) == []
                assert not await store.redrive_wake("p", 1)
                assert list(await store.transfer_observers("s", "z", ["p"], "ana")) == ["p"]
