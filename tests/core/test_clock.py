"""Ids that sort, and the machine's clock."""

import time

import pytest

from lash.core.clock import SequentialIds, SystemClock, SystemIds

CROCKFORD = set("0123456789abcdefghjkmnpqrstvwxyz")


def test_an_id_is_its_prefix_and_26_characters() -> None:
    prefix, _, rest = SystemIds().new("turn").partition("_")
    assert prefix == "turn"
    assert len(rest) == 26
    assert set(rest) <= CROCKFORD


def test_an_id_begins_with_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    # 2**48 - 1 ms is the last time that fits: ten characters, of which the first holds two bits less.
    monkeypatch.setattr(time, "time_ns", lambda: (2**48 - 1) * 1_000_000)
    assert SystemIds().new("x").startswith("x_7zzzzzzzzz")
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000)
    assert SystemIds().new("x").startswith("x_0000000001")


@pytest.mark.parametrize("step_ms", [0, -1, 1], ids=["same ms", "clock set back", "clock runs"])
def test_ids_are_unique_and_sort_in_the_order_they_were_made(
    monkeypatch: pytest.MonkeyPatch, step_ms: int
) -> None:
    now = 1_700_000_000_000

    def tick() -> int:
        nonlocal now
        now += step_ms
        return now * 1_000_000

    monkeypatch.setattr(time, "time_ns", tick)
    ids = SystemIds()
    made = [ids.new("x") for _ in range(2_000)]
    assert made == sorted(set(made))


def test_two_sources_never_agree() -> None:
    one, other = SystemIds(), SystemIds()
    made = [source.new("x") for _ in range(500) for source in (one, other)]
    assert len(set(made)) == 1_000


def test_sequential_ids_count_up_and_sort() -> None:
    ids = SequentialIds()
    made = [ids.new("x") for _ in range(11)]
    assert made[0] == "x_00000000000000000000000001"
    assert made[10] == "x_00000000000000000000000011"
    assert made == sorted(made)
    assert SequentialIds().new("x") == made[0]


def test_every_prefix_counts_in_the_same_sequence() -> None:
    ids = SequentialIds()
    ids.new("a")
    assert ids.new("b") == "b_00000000000000000000000002"


async def test_the_system_clock_sleeps_as_told_and_never_backwards() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    clock = SystemClock(sleep)
    await clock.sleep(1.5)
    await clock.sleep(-1)
    assert slept == [1.5, 0.0]


def test_the_system_clock_tells_milliseconds_and_monotonic_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def sleep(seconds: float) -> None:
        raise AssertionError(seconds)

    monkeypatch.setattr(time, "time_ns", lambda: 1_234_567_890)
    monkeypatch.setattr(time, "perf_counter", lambda: 7.25)
    clock = SystemClock(sleep)
    assert clock.now_ms() == 1_234
    assert clock.monotonic() == 7.25
