"""Wakes on their way: when they are tried again, when no more, and what they are called."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lash.processes.events import EventSemantics, ProcessEvent
from lash.processes.wakes import (
    WakeDelivery,
    delivered,
    discarded,
    undelivered,
    wake_of,
)

WEEK_MS = 604_800_000
WAKE = WakeDelivery(
    process_id="p", sequence=3, session_id="s", event_type="ring", text="hi", created_at_ms=1000
)
EVENT = ProcessEvent(
    process_id="p",
    sequence=3,
    event_type="ring",
    payload={"text": "hi"},
    occurred_at_ms=1000,
    semantics=EventSemantics(wake="hi"),
)


def test_an_event_that_wakes_is_a_wake_of_its_session() -> None:
    assert wake_of(EVENT, "s") == WAKE
    assert (WAKE.source_key, WAKE.item_id) == ("process:p:event:3:wake", "wake:p:3")


def test_nobody_to_wake_and_nothing_to_tell_are_no_wake() -> None:
    assert wake_of(EVENT, None) is None
    assert wake_of(msgspec.structs.replace(EVENT, semantics=EventSemantics()), "s") is None


def test_an_empty_text_is_told() -> None:
    told = wake_of(msgspec.structs.replace(EVENT, semantics=EventSemantics(wake="")), "s")

    assert told is not None
    assert told.text == ""


def test_waits_double_up_to_five_minutes() -> None:
    wake, waits = WAKE, list[int]()
    for _ in range(16):
        wake = undelivered(wake, 5000, deleted=False)
        waits.append(wake.next_attempt_at_ms - 5000)

    assert waits[:4] == [50, 100, 200, 400]
    assert waits[-3:] == [300_000, 300_000, 300_000]
    assert (wake.state, wake.attempts) == ("pending", 16)


@pytest.mark.parametrize(
    ("now_ms", "gone", "state", "reason"),
    [
        (1000 + WEEK_MS - 1, False, "pending", None),
        (1000 + WEEK_MS, False, "discarded", "expired"),
        (1000, True, "discarded", "target_gone"),
        (1000 + WEEK_MS, True, "discarded", "target_gone"),
    ],
)
def test_a_wake_is_given_up_after_a_week_or_when_its_session_is_gone(
    now_ms: int, *, gone: bool, state: str, reason: str | None
) -> None:
    after = undelivered(WAKE, now_ms, deleted=gone)

    assert (after.state, after.discard_reason, after.attempts) == (state, reason, 1)


def test_a_wake_that_arrived_or_was_discarded_says_so_and_stays_itself() -> None:
    assert delivered(WAKE) == msgspec.structs.replace(WAKE, state="delivered", attempts=1)
    assert discarded(WAKE, "retargeted") == msgspec.structs.replace(
        WAKE, state="discarded", discard_reason="retargeted"
    )


@given(tries=st.integers(0, 10_000), now_ms=st.integers(1000, 1000 + WEEK_MS - 1))
def test_however_often_it_is_tried_it_is_tried_again_within_a_week(tries: int, now_ms: int) -> None:
    after = undelivered(msgspec.structs.replace(WAKE, attempts=tries), now_ms, deleted=False)

    assert after.state == "pending"
    assert now_ms + 50 <= after.next_attempt_at_ms <= now_ms + 300_000
