"""What may happen to a promise: the table, and every short history of one against a plain model."""

from collections.abc import Sequence
from itertools import product
from typing import Literal, TypeAlias

import pytest
from effect_samples import KEY, TURN

from lash.core.scopes import (
    ExecutionScope,
    ProcessScope,
    QueueDrainScope,
    RuntimeOperationScope,
    SessionDeleteScope,
    journal_key,
)
from lash.effects.waits.keys import mint
from lash.effects.waits.model import (
    AlreadyResolved,
    AwaitEventWaitIdentity,
    CustomWait,
    ExternalCompletionError,
    ProcessSignalWait,
    Resolution,
    ResolveAccepted,
    ResolvedCancelled,
    ResolvedErr,
    ResolvedOk,
    ResolvedTimeout,
    ResolveOutcome,
    ToolCompletionWait,
    TurnCancelGateWait,
    TurnTerminalWait,
    UnknownOrRevoked,
)
from lash.effects.waits.transitions import (
    WaitMissing,
    WaitPending,
    WaitResolved,
    WaitRevoked,
    WaitRow,
    WaitState,
    is_due,
    plan_resolve,
    plan_sweep,
    row_of,
)

NOW = 1000
OK, OTHER = ResolvedOk(payload=7), ResolvedOk(payload=8)
ERR = ResolvedErr(payload=ExternalCompletionError(code="no", message="not today"))
TIMEOUT, CANCELLED = ResolvedTimeout(), ResolvedCancelled()
ALL = [OK, OTHER, ERR, TIMEOUT, CANCELLED]

# --- the table ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("proposed", ALL)
@pytest.mark.parametrize(
    "state",
    [WaitMissing(), WaitPending(), WaitPending(deadline_at_ms=NOW + 1)],
)
def test_the_first_resolution_is_stored_also_before_anybody_waits(
    state: WaitState, proposed: Resolution
) -> None:
    plan = plan_resolve(state, proposed, NOW)
    assert (plan.outcome, plan.store) == (ResolveAccepted(), proposed)


@pytest.mark.parametrize("proposed", [OK, OTHER, ERR, CANCELLED])
@pytest.mark.parametrize("deadline", [NOW, NOW - 1, 0, -5])
def test_whoever_comes_after_the_deadline_is_told_of_it(
    deadline: int, proposed: Resolution
) -> None:
    plan = plan_resolve(WaitPending(deadline_at_ms=deadline), proposed, NOW)
    assert (plan.outcome, plan.store) == (AlreadyResolved(terminal=TIMEOUT), TIMEOUT)


def test_whoever_brings_the_timeout_is_told_that_it_stands() -> None:
    plan = plan_resolve(WaitPending(deadline_at_ms=NOW), TIMEOUT, NOW)
    assert (plan.outcome, plan.store) == (ResolveAccepted(), TIMEOUT)


@pytest.mark.parametrize("proposed", ALL)
@pytest.mark.parametrize("there", ALL)
def test_what_is_resolved_stays_and_nothing_is_stored(
    there: Resolution, proposed: Resolution
) -> None:
    plan = plan_resolve(WaitResolved(resolution=there), proposed, NOW)
    assert (plan.outcome, plan.store) == (AlreadyResolved(terminal=there), None)


@pytest.mark.parametrize("proposed", ALL)
def test_what_is_revoked_is_unknown(proposed: Resolution) -> None:
    plan = plan_resolve(WaitRevoked(), proposed, NOW)
    assert (plan.outcome, plan.store) == (UnknownOrRevoked(), None)


@pytest.mark.parametrize(
    ("state", "swept"),
    [
        (WaitMissing(), None),
        (WaitPending(), CANCELLED),
        (WaitPending(deadline_at_ms=NOW + 1), CANCELLED),
        (WaitPending(deadline_at_ms=NOW), TIMEOUT),
        (WaitPending(deadline_at_ms=NOW - 1), TIMEOUT),
        (WaitResolved(resolution=OK), None),
        (WaitResolved(resolution=CANCELLED), None),
        (WaitRevoked(), None),
    ],
)
def test_a_sweep_ends_what_is_pending_and_nothing_that_steers_a_turn(
    state: WaitState, swept: Resolution | None
) -> None:
    assert plan_sweep(state, turn_control=False, now_ms=NOW) == swept
    assert plan_sweep(state, turn_control=True, now_ms=NOW) is None


def test_a_deadline_has_passed_when_its_moment_is_there() -> None:
    assert [is_due(NOW, now) for now in (NOW - 1, NOW, NOW + 1)] == [False, True, True]
    assert not is_due(None, 2**62)


# --- histories ----------------------------------------------------------------------------------------

_EVENTS = ("open", "open by 5", "ok", "other", "timeout", "cancel", "sweep", "tick", "revoke")
_PROPOSED: dict[str, Resolution] = {
    "ok": OK,
    "other": OTHER,
    "timeout": TIMEOUT,
    "cancel": CANCELLED,
}


#: A resolution, "revoked", or None while it is open.
Stands: TypeAlias = Resolution | Literal["revoked"] | None


class Row:
    """A promise kept by the decisions under test, as a store would."""

    def __init__(self) -> None:
        self.state: WaitState = WaitMissing()

    def resolve(self, proposed: Resolution, now: int) -> ResolveOutcome:
        plan = plan_resolve(self.state, proposed, now)
        if plan.store is not None:
            self.state = WaitResolved(resolution=plan.store)
        return plan.outcome

    def sweep(self, now: int) -> None:
        swept = plan_sweep(self.state, turn_control=False, now_ms=now)
        if swept is not None:
            self.state = WaitResolved(resolution=swept)


def winner(history: Sequence[str]) -> Stands:
    """What a history comes to, by looking for whatever came first in it.

    Time goes by 5 at every tick, so a wait that was opened by 5 times out at the first tick after.
    """
    if "revoke" in history:
        return "revoked"
    opened = [place for place, event in enumerate(history) if event.startswith("open")]
    first_open = opened[0] if opened else len(history)
    firsts: list[tuple[int, Resolution]] = []
    for place, event in enumerate(history):
        if event in _PROPOSED:
            firsts.append((place, _PROPOSED[event]))
        elif event == "sweep" and place > first_open:
            firsts.append((place, CANCELLED))
    if first_open < len(history) and history[first_open] == "open by 5":
        before = history[:first_open].count("tick")  # the deadline is at 5, whenever it is opened
        ticks = [place for place, event in enumerate(history) if event == "tick"]
        if before:
            firsts.append((first_open, TIMEOUT))
        elif ticks:
            firsts.append((ticks[0], TIMEOUT))
    return min(firsts, key=lambda first: first[0])[1] if firsts else None


def stands(row: Row, now: int) -> Stands:
    """How the promise stands for whoever asks at a time."""
    match row.state:
        case WaitRevoked():
            return "revoked"
        case WaitResolved(resolution=resolution):
            return resolution
        case WaitPending(deadline_at_ms=deadline) if is_due(deadline, now):
            return TIMEOUT
        case _:
            return None


def answers(before: Stands, proposed: Resolution) -> list[ResolveOutcome]:
    """What a resolver may be told, given what the history before it came to."""
    if before == "revoked":
        return [UnknownOrRevoked()]
    if before is None:
        return [ResolveAccepted()]
    already: ResolveOutcome = AlreadyResolved(terminal=before)
    # Whoever brings the timeout of a promise past its deadline may be the one who stores it.
    return [already, ResolveAccepted()] if before == proposed == TIMEOUT else [already]


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5])
def test_every_history_comes_to_what_came_first_in_it(length: int) -> None:
    for events in product(_EVENTS, repeat=length):
        row, now = Row(), 0
        for place, event in enumerate(events):
            before, past = winner(events[:place]), events[: place + 1]
            if event == "tick":
                now += 5
            elif event == "revoke":
                row.state = WaitRevoked()
            elif event == "sweep":
                row.sweep(now)
            elif event in _PROPOSED:
                proposed = _PROPOSED[event]
                assert row.resolve(proposed, now) in answers(before, proposed), past
            elif isinstance(row.state, WaitMissing):
                row.state = WaitPending(deadline_at_ms=5 if event == "open by 5" else None)
            assert stands(row, now) == winner(past), past


# --- rows ---------------------------------------------------------------------------------------------

_SECRET = b"s" * 32


@pytest.mark.parametrize(
    ("scope", "session_id"),
    [
        (TURN, "s"),
        (QueueDrainScope(session_id="s", drain_id="d"), "s"),
        (SessionDeleteScope(session_id="s"), "s"),
        (ProcessScope(process_id="p"), None),
        (RuntimeOperationScope(operation_id="o"), None),
    ],
)
@pytest.mark.parametrize(
    ("wait", "wire", "control"),
    [
        (
            ToolCompletionWait(tool_call_id="c"),
            '{"tool_call_id":"c","type":"tool_completion"}',
            False,
        ),
        (
            ProcessSignalWait(process_id="p", signal_name="n", ordinal=2),
            '{"ordinal":2,"process_id":"p","signal_name":"n","type":"process_signal"}',
            False,
        ),
        (CustomWait(key="k"), '{"key":"k","type":"custom"}', False),
        (TurnCancelGateWait(), '{"type":"turn_cancel_gate"}', True),
        (TurnTerminalWait(), '{"type":"turn_terminal"}', True),
    ],
)
def test_a_row_says_whose_it_is_and_what_is_waited_for(
    scope: ExecutionScope,
    session_id: str | None,
    wait: AwaitEventWaitIdentity,
    wire: str,
    control: bool,
) -> None:
    key = mint(_SECRET, scope, wait)
    assert row_of(key, journal_key(scope), 9) == WaitRow(
        key_id=key.key_id,
        scope_key=journal_key(scope),
        session_id=session_id,
        wait=wire,
        turn_control=control,
        deadline_at_ms=None if control else 9,
    )


def test_the_secret_part_of_a_key_is_in_no_row() -> None:
    key = mint(_SECRET, TURN, CustomWait(key="k"))
    assert key.signature not in repr(row_of(key, journal_key(TURN)))


def test_a_promise_is_the_same_whatever_became_of_it() -> None:
    row = row_of(KEY, "scope")
    later = WaitRow(
        key_id=row.key_id,
        scope_key=row.scope_key,
        session_id=row.session_id,
        wait=row.wait,
        deadline_at_ms=5,
        resolution="{}",
        created_at_ms=1,
        resolved_at_ms=2,
    )
    assert row.same_promise(later)
    for field in ("key_id", "scope_key", "session_id", "wait"):
        fields = {name: getattr(later, name) for name in later.__struct_fields__}
        assert not row.same_promise(WaitRow(**{**fields, field: "other"}))
