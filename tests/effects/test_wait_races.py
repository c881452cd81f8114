"""However waiters, resolvers and cancels of several processes meet, all see what came first."""

import asyncio

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wait_samples import Place, settled, tasks_of

from lash.core.cancel import Cancellation, CancelToken
from lash.effects.waits.board import WaitBoard
from lash.effects.waits.model import (
    Resolution,
    ResolveAccepted,
    ResolvedCancelled,
    ResolvedOk,
    ResolvedTimeout,
)

_STOP = Cancellation(request_id="r1")

#: When something happens, in steps of 5 ms; never two things at once.
_moments = st.lists(st.integers(1, 120), min_size=1, max_size=8, unique=True)
_events = st.lists(st.sampled_from(["here", "there", "nowhere", "cancel"]), max_size=8)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    moments=_moments,
    events=_events,
    deadline=st.booleans(),
    tokens=st.booleans(),
    waiters=st.lists(st.integers(0, 2), min_size=1, max_size=4),
)
def test_all_who_wait_see_what_came_first(
    moments: list[int], events: list[str], *, deadline: bool, tokens: bool, waiters: list[int]
) -> None:
    asyncio.run(_play(moments, events, deadline=deadline, tokens=tokens, waiters=waiters))


async def _play(
    moments: list[int], events: list[str], *, deadline: bool, tokens: bool, waiters: list[int]
) -> None:
    """Three processes over one store: `here`, `there`, and `nowhere`, in which nobody waits."""
    due, *times = moments
    plan = dict(zip(times, events, strict=False))
    first = _what_comes_first(plan, due if deadline else None)
    place = Place(tokens=tokens)
    boards = [place.board, WaitBoard(place.store, place.clock), WaitBoard(place.store, place.clock)]
    cancels = [CancelToken() for _ in waiters]
    row = place.row(deadline_at_ms=due * 5 if deadline else None)
    waiting = [
        asyncio.create_task(boards[at].wait(row, cancel))
        for at, cancel in zip(waiters, cancels, strict=True)
    ]
    await settled()

    for moment in range(1, max([due, *times]) + 1):
        place.clock.advance(0.005)
        await settled()
        match plan.get(moment):
            case "cancel":
                cancels[moment % len(cancels)].cancel(_STOP)
            case "here" | "there" | "nowhere" as where:
                resolution = ResolvedOk(payload=moment)
                outcome = await place.store.resolve_wait(row, resolution)
                if where != "nowhere" and isinstance(outcome, ResolveAccepted):
                    boards[0 if where == "here" else 1].settle(row.key_id, resolution)
        await settled()
    await place.pass_time(1.1)
    if first is None:
        assert not any(task.done() for task in waiting)
        first = ResolvedOk(payload="at last")
        await place.store.resolve_wait(row, first)
        await place.pass_time(1.1)

    assert all(task.done() for task in waiting)
    assert [await task for task in waiting] == [first] * len(waiting)
    assert await place.board.wait(row) == first
    await place.pass_time(1.1)
    assert tasks_of() == []


def _what_comes_first(plan: dict[int, str], due: int | None) -> Resolution | None:
    moments = sorted([*plan, *([] if due is None else [due])])
    if not moments:
        return None
    first = moments[0]
    if first == due:
        return ResolvedTimeout()
    return ResolvedCancelled() if plan[first] == "cancel" else ResolvedOk(payload=first)
