"""Signals: the n-th wait gets the n-th, so their order and number are what counts."""

# ruff: noqa: D102  the name of a property says what it promises

import asyncio

import pytest

from lash.processes.events import ProcessEvent
from lash.processes.writes import AlreadyApplied, WriteRefused
from lash.testing.conformance.processes.registry import ProcessProperties, Registry, payloads
from lash.testing.conformance.processes.samples import note, refund, signal, wait
from lash.testing.conformance.rig import expect


async def nth(registry: Registry, name: str, number: int) -> ProcessEvent | None:
    """The n-th signal of a name, found one behind the other."""
    after, found = 0, None
    for _ in range(number):
        page = await registry.store.process_events(
            "p", after=after, event_type=f"signal.{name}", limit=1
        )
        if not page:
            return None
        (found,) = page
        after = found.sequence
    return found


class SignalProperties(ProcessProperties):
    """`write_process(AppendEvent)` of signals, and finding the n-th."""

    async def test_the_nth_signal_of_a_name_is_found_among_others(self) -> None:
        async with self.registry() as registry:
            await registry.register()
            await registry.append(signal("hello", 1, "a"))
            await registry.append(signal("approve", {"by": "ana"}, "a"))
            await registry.append(note(7))
            await registry.append(signal("hello", 2, "b"))
            await registry.append(signal("approve", {"by": "ben"}, "b"))
            await registry.interlude()
            found = [await nth(registry, "approve", number) for number in (1, 2, 3)]
            assert found[2] is None
            assert [(each.sequence, each.payload) for each in found if each] == [
                (2, {"by": "ana"}),
                (5, {"by": "ben"}),
            ]
            assert await registry.store.count_events("p", "signal.approve", 2) == 1
            assert await registry.store.count_events("p", "signal.approve", 5) == 2

    async def test_a_signal_is_told_once_and_another_under_its_id_is_a_conflict(self) -> None:
        async with self.registry() as registry:
            await registry.register()
            first = await registry.append(signal("approve", {"by": "ana"}, "1"))
            async with registry.untouched():
                again = await registry.result(signal("approve", {"by": "ana"}, "1"))
                assert expect(AlreadyApplied, again).event == first
                other = signal("approve", {"by": "ben"}, "1")
                assert await registry.refusal(other) == "process_event_conflict"

    async def test_signals_from_two_sides_at_once_are_all_there_each_side_in_order(self) -> None:
        async with self.registry() as registry:
            await registry.register()

            async def send(by: str) -> None:
                for number in range(5):
                    await registry.append(signal("hello", f"{by}{number}", f"{by}{number}"))
                    await asyncio.sleep(0)

            await asyncio.gather(send("a"), send("b"))
            await registry.interlude()
            log = await registry.log()
            assert [each.sequence for each in log] == list(range(1, 11))
            told = [str(payload) for payload in payloads(log)]
            assert [each for each in told if each[0] == "a"] == ["a0", "a1", "a2", "a3", "a4"]
            assert [each for each in told if each[0] == "b"] == ["b0", "b1", "b2", "b3", "b4"]
            for number, event in enumerate(log, 1):
                assert await nth(registry, "hello", number) == event

    async def test_two_signals_within_one_wait_are_both_there(self) -> None:
        async with self.registry() as registry:
            lease = await registry.running()
            waiting = await registry.wait(lease, wait())
            await registry.append(signal("hello", 1, "a"))
            await registry.append(signal("hello", 2, "b"))
            await registry.interlude()
            record = await registry.load()
            assert (record.status, record.state.wait, record.lease.held) == (
                "waiting",
                waiting,
                lease,
            )
            found = [await nth(registry, "hello", number) for number in (1, 2)]
            assert [each.payload for each in found if each] == [1, 2]

    @pytest.mark.parametrize("open_signals", [False, True], ids=["declared", "open"])
    async def test_undeclared_signals_are_taken_only_by_who_takes_all(
        self, *, open_signals: bool
    ) -> None:
        async with self.registry() as registry:
            await registry.ask(refund(open_signals=open_signals))
            if open_signals:
                await registry.append(signal("anything-at_all9", [None], "1"))
            else:
                async with registry.untouched():
                    answer = await registry.result(signal("anything-at_all9", [None], "1"))
                refused = expect(WriteRefused, answer)
                assert refused.code == "process_signal_undeclared"
                assert refused.details["known"] == ["approve", "hello"]
            async with registry.untouched():
                for name in ("", "no spaces", "né", "a.b"):
                    code = await registry.refusal(signal(name, None, name))
                    assert code == "process_signal_undeclared"

    async def test_a_declared_signal_is_checked_also_by_who_takes_all(self) -> None:
        async with self.registry() as registry:
            await registry.ask(refund(open_signals=True))
            async with registry.untouched():
                mistyped = signal("approve", {"by": 7}, "1")
                assert await registry.refusal(mistyped) == "process_event_invalid"
