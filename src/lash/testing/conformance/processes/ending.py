"""Events that end a process, and requests to stop it, which do not."""

# ruff: noqa: D102  the name of a property says what it promises

import pytest

from lash.core.json import JsonValue
from lash.processes.event_types import (
    ProcessEventType,
    SelectPayload,
    SelectPointer,
    TerminalSpec,
)
from lash.processes.events import EventSemantics, Terminal
from lash.processes.outcomes import ProcessCancelled, ProcessFailure, ProcessSuccess
from lash.processes.writes import (
    AlreadyApplied,
    CompleteByAuthority,
    Superseded,
)
from lash.testing.conformance.processes.appending import event
from lash.testing.conformance.processes.registry import BANK, ProcessProperties, payloads
from lash.testing.conformance.processes.samples import (
    DONE,
    EVENT_TYPES,
    START_MS,
    cancel,
    refund,
    schema,
    terminal_type,
)
from lash.testing.conformance.rig import expect


class EndingEventProperties(ProcessProperties):
    """`write_process(AppendEvent)` of events whose type ends the process."""

    @pytest.mark.parametrize(
        ("name", "payload", "status", "outcome"),
        [
            ("sold", {"sum": 1}, "completed", ProcessSuccess(value={"sum": 1})),
            (
                "broke",
                {"why": {"code": 7}},
                "failed",
                ProcessFailure(
                    failure_class="execution",
                    code="process_failed",
                    message='{"code":7}',
                    raw={"code": 7},
                ),
            ),
            (
                "broke",
                {
                    "why": {
                        "type": "failure",
                        "failure_class": "timeout",
                        "code": "late",
                        "message": "Too late.",
                    }
                },
                "failed",
                ProcessFailure(failure_class="timeout", code="late", message="Too late."),
            ),
            ("stopped", None, "cancelled", ProcessCancelled(message="enough", raw="enough")),
        ],
        ids=["whole", "made", "given", "constant"],
    )
    async def test_an_event_of_its_own_ends_a_process_as_its_type_says(
        self, name: str, payload: JsonValue, status: str, outcome: object
    ) -> None:
        async with self.registry() as registry:
            lease = await registry.running()
            appended = await registry.append(event(name, payload, "end", lease.fence))
            await registry.interlude()
            record = await registry.load()
            assert (record.status, record.outcome) == (status, outcome)
            assert (record.lease.held, record.lease.fencing_token) == (None, 1)
            assert appended.semantics.terminal == Terminal(status=record.status, outcome=outcome)  # type: ignore[arg-type]  # an outcome
            assert (await registry.log())[-1] == appended
            assert await registry.runnable() == []

    async def test_an_event_must_end_a_process_as_its_type_says(self) -> None:
        async with self.registry() as registry:
            sold = TerminalSpec(status="completed", outcome=SelectPayload())
            gone = TerminalSpec(status="abandoned", outcome=SelectPointer(pointer="/why"))
            declared = (terminal_type("sold", sold), terminal_type("gone", gone))
            await registry.ask(refund(event_types=declared))
            fence = (await registry.begin()).fence
            cancelled = {"type": "cancelled", "message": "no"}
            async with registry.untouched():
                other = event("sold", cancelled, "k", fence)
                assert await registry.refusal(other) == "process_outcome_mismatch"
                invented = event("gone", {"why": "silence"}, "k", fence)
                assert await registry.refusal(invented) == "process_outcome_mismatch"

    async def test_only_its_runner_ends_a_process_by_an_event(self) -> None:
        async with self.registry() as registry:
            await registry.running("p")
            await registry.running("q", "owner_bound")
            for name in ("p", "q"):
                async with registry.untouched(name):
                    code = await registry.refusal(event("sold", 1), name)
                assert code == "process_completion_refused"

    async def test_work_that_is_done_elsewhere_is_ended_by_an_event_of_anybodys(self) -> None:
        async with self.registry() as registry:
            await registry.register("p", "externally_owned")
            await registry.append(event("sold", [1]))
            await registry.interlude()
            assert (await registry.load()).outcome == ProcessSuccess(value=[1])
            late = CompleteByAuthority(outcome=DONE, authority=BANK)
            async with registry.untouched():
                expect(Superseded, await registry.result(late))

    async def test_what_an_event_meant_stays_what_it_meant(self) -> None:
        async with self.registry() as registry:
            await registry.register(wakes="s")
            appended = await registry.append(event("ring", {"text": "hello"}))
            assert appended.semantics == EventSemantics(wake="hello")
            await registry.interlude()
            assert appended in await registry.log()
            again = expect(AlreadyApplied, await registry.result(event("ring", {"text": "hello"})))
            assert again.event == appended


class CancelProperties(ProcessProperties):
    """`write_process(AppendEvent)` of requests to stop."""

    async def test_a_request_to_stop_is_a_request(self) -> None:
        async with self.registry() as registry:
            lease = await registry.running()
            registry.later(7)
            written = await registry.write(cancel("changed her mind"))
            assert written.record.status == "running"
            await registry.interlude()
            record = await registry.load()
            assert record.lease.held == lease
            asked = record.state.cancel
            assert asked is not None
            assert (asked.reason, asked.requested_at_ms) == ("changed her mind", START_MS + 7)

    async def test_of_several_requests_to_stop_the_first_is_the_reason_and_all_are_told(
        self,
    ) -> None:
        async with self.registry() as registry:
            await registry.register()
            await registry.append(cancel("first", "k1"))
            await registry.append(cancel(None, "k2"))
            await registry.interlude()
            state = (await registry.load()).state
            assert state.cancel is not None
            assert state.cancel.reason == "first"
            assert payloads(await registry.log()) == [{"reason": "first"}, {}]

    async def test_a_reason_may_be_as_long_as_it_likes(self) -> None:
        async with self.registry() as registry:
            await registry.register()
            long = "é☃" * 50_000
            await registry.append(cancel(long))
            async with registry.untouched():
                expect(AlreadyApplied, await registry.result(cancel(long)))
                assert await registry.refusal(cancel(long + "!")) == "process_event_conflict"

    async def test_its_own_declaration_of_an_event_counts_and_nobody_elses(self) -> None:
        async with self.registry() as registry:
            text = ProcessEventType(name="note", payload_schema=schema("text", "string"))
            await registry.ask(refund("p", event_types=(text,)))
            await registry.ask(refund("q", event_types=EVENT_TYPES))
            await registry.append(event("note", {"text": "hello"}), "p")
            assert await registry.refusal(event("note", {"n": 1}, "k2"), "p") == (
                "process_event_invalid"
            )
            await registry.append(event("note", {"n": 1}), "q")
