"""Leases and fencing: hand-written cases, then a model of several owners doing anything at all."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lash.core.errors import ConfigurationError
from lash.core.leases import (
    Acquired,
    Busy,
    Fence,
    Lease,
    LeaseClaim,
    LeaseOwner,
    LeaseState,
    LeaseTimings,
    decide_claim,
    decide_release,
    decide_renewal,
    is_current,
)

ADA = LeaseOwner(owner_id="ada", incarnation="1")
ADA_REBORN = LeaseOwner(owner_id="ada", incarnation="2")
BOB = LeaseOwner(owner_id="bob", incarnation="1")


def claim(
    owner: LeaseOwner, nonce: str = "n", ttl_ms: int = 100, presumed_dead: int | None = None
) -> LeaseClaim:
    return LeaseClaim(owner=owner, nonce=nonce, ttl_ms=ttl_ms, presumed_dead=presumed_dead)


def held_by(
    owner: LeaseOwner, *, token: int = 1, nonce: str = "n", claimed: int = 0, expires: int = 100
) -> LeaseState:
    lease = Lease(
        owner=owner, nonce=nonce, fencing_token=token, claimed_at_ms=claimed, expires_at_ms=expires
    )
    return LeaseState(fencing_token=token, held=lease)


def test_a_free_lease_is_granted_with_the_next_token() -> None:
    decision = decide_claim(LeaseState(fencing_token=6), claim(ADA, "n7"), now_ms=50)
    assert decision == Acquired(
        lease=Lease(owner=ADA, nonce="n7", fencing_token=7, claimed_at_ms=50, expires_at_ms=150)
    )


def test_a_held_lease_is_busy_for_everybody_else() -> None:
    state = held_by(ADA)
    assert state.held is not None
    assert decide_claim(state, claim(BOB), now_ms=99) == Busy(holder=state.held)


def test_another_incarnation_of_the_same_owner_is_somebody_else() -> None:
    assert isinstance(decide_claim(held_by(ADA), claim(ADA_REBORN), now_ms=99), Busy)


def test_a_lease_may_be_taken_at_its_expiry_and_not_a_millisecond_before() -> None:
    state = held_by(ADA, expires=100)
    assert isinstance(decide_claim(state, claim(BOB), now_ms=99), Busy)
    taken = decide_claim(state, claim(BOB, "m"), now_ms=100)
    assert isinstance(taken, Acquired)
    assert taken.lease.fence == Fence(fencing_token=2, nonce="m")
    assert taken.displaced == state.held


def test_proof_of_death_takes_an_unexpired_lease_at_once() -> None:
    taken = decide_claim(held_by(ADA, token=4), claim(BOB, presumed_dead=4), now_ms=1)
    assert isinstance(taken, Acquired)
    assert taken.lease.fencing_token == 5


@pytest.mark.parametrize("stale", [3, 5])
def test_proof_of_another_holders_death_proves_nothing(stale: int) -> None:
    decision = decide_claim(held_by(ADA, token=4), claim(BOB, presumed_dead=stale), now_ms=1)
    assert isinstance(decision, Busy)


@pytest.mark.parametrize("now_ms", [40, 100, 5_000], ids=["live", "at expiry", "long expired"])
def test_the_same_owner_claiming_again_keeps_token_and_nonce(now_ms: int) -> None:
    state = held_by(ADA, token=3, nonce="first")
    again = decide_claim(state, claim(ADA, "second"), now_ms=now_ms)
    assert isinstance(again, Acquired)
    assert again.lease.fence == Fence(fencing_token=3, nonce="first")
    assert again.lease.claimed_at_ms == 0
    assert again.lease.expires_at_ms == now_ms + 100
    assert again.displaced is None


@pytest.mark.parametrize("now_ms", [0, 70])
def test_claiming_or_renewing_never_shortens_a_lease(now_ms: int) -> None:
    state = held_by(ADA, expires=100)
    again = decide_claim(state, claim(ADA, ttl_ms=10), now_ms=now_ms)
    assert isinstance(again, Acquired)
    assert again.lease.expires_at_ms == 100
    renewed = decide_renewal(state, Fence(fencing_token=1, nonce="n"), ttl_ms=10, now_ms=now_ms)
    assert renewed is not None
    assert renewed.expires_at_ms == 100


def test_a_holder_nobody_displaced_may_renew_after_its_expiry() -> None:
    renewed = decide_renewal(held_by(ADA), Fence(fencing_token=1, nonce="n"), 100, now_ms=500)
    assert renewed == Lease(
        owner=ADA, nonce="n", fencing_token=1, claimed_at_ms=0, expires_at_ms=600
    )


@pytest.mark.parametrize(
    "fence",
    [
        Fence(fencing_token=1, nonce="other"),
        Fence(fencing_token=2, nonce="n"),
        Fence(fencing_token=0, nonce="n"),
    ],
)
@pytest.mark.parametrize("state", [held_by(ADA), LeaseState(fencing_token=1)])
def test_a_fence_that_is_not_current_can_do_nothing(state: LeaseState, fence: Fence) -> None:
    assert not is_current(state, fence)
    assert decide_renewal(state, fence, 100, now_ms=1) is None
    assert decide_release(state, fence) is None


def test_release_keeps_the_token_so_that_it_never_comes_back() -> None:
    released = decide_release(held_by(ADA, token=9), Fence(fencing_token=9, nonce="n"))
    assert released == LeaseState(fencing_token=9)
    again = decide_claim(LeaseState(fencing_token=9), claim(ADA, "n"), now_ms=0)
    assert isinstance(again, Acquired)
    assert again.lease.fencing_token == 10


@pytest.mark.parametrize(("ttl", "renew"), [(3, 1), (30_000, 10_000), (30_001, 10_000)])
def test_a_ttl_of_three_renewals_is_enough(ttl: int, renew: int) -> None:
    assert LeaseTimings(ttl_ms=ttl, renew_ms=renew).ttl_ms == ttl


@pytest.mark.parametrize(
    ("ttl", "renew"), [(29_999, 10_000), (2, 1), (0, 0), (30_000, 0), (30_000, -1)]
)
def test_timings_that_one_slow_write_would_break_are_refused(ttl: int, renew: int) -> None:
    with pytest.raises(ConfigurationError) as caught:
        LeaseTimings(ttl_ms=ttl, renew_ms=renew)
    assert caught.value.code == "lease_timings_invalid"
    assert caught.value.details == {"ttl_ms": ttl, "renew_ms": renew}


TTL = 30
OWNERS = [
    LeaseOwner(owner_id=name, incarnation=incarnation)
    for name in ("a", "b")
    for incarnation in ("1", "2")
]
owners = st.sampled_from(OWNERS)


class LeaseModel(RuleBasedStateMachine):
    """Four owners claim, renew, release and die, while time passes in steps around the ttl.

    The model keeps what the machine must not: every fence ever granted, who was granted it, and
    which of them were superseded.
    """

    def __init__(self) -> None:
        super().__init__()
        self.state = LeaseState()
        self.now = 1_000
        self.nonces = 0
        self.granted: list[tuple[LeaseOwner, Fence]] = []
        self.gone: set[Fence] = set()

    def _claim(self, owner: LeaseOwner, presumed_dead: int | None) -> None:
        self.nonces += 1
        before = self.state.held
        decision = decide_claim(
            self.state, claim(owner, f"n{self.nonces}", TTL, presumed_dead), self.now
        )
        free = before is None or before.expires_at_ms <= self.now
        proven = before is not None and before.fencing_token == presumed_dead
        if before is not None and before.owner == owner:
            assert isinstance(decision, Acquired)
            assert decision.lease.fence == before.fence
        elif free or proven:
            assert isinstance(decision, Acquired)
            assert decision.displaced == before
            assert decision.lease.nonce == f"n{self.nonces}"
            if self.granted:
                assert decision.lease.fencing_token > self.granted[-1][1].fencing_token
            if before is not None:
                self.gone.add(before.fence)
            self.granted.append((owner, decision.lease.fence))
        else:
            assert decision == Busy(holder=before) if before is not None else False
            return
        self.state = LeaseState(fencing_token=decision.lease.fencing_token, held=decision.lease)

    @rule(owner=owners)
    def claim(self, owner: LeaseOwner) -> None:
        self._claim(owner, None)

    @precondition(lambda self: self.granted)
    @rule(owner=owners, data=st.data())
    def claim_with_proof_of_death(self, owner: LeaseOwner, data: st.DataObject) -> None:
        _, fence = data.draw(st.sampled_from(self.granted))
        self._claim(owner, fence.fencing_token)

    @precondition(lambda self: self.granted)
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        owner, fence = data.draw(st.sampled_from(self.granted))
        renewed = decide_renewal(self.state, fence, TTL, self.now)
        assert (renewed is not None) == (fence not in self.gone)
        if renewed is not None:
            assert (renewed.owner, renewed.fence) == (owner, fence)
            assert renewed.expires_at_ms == self.now + TTL
            self.state = LeaseState(fencing_token=self.state.fencing_token, held=renewed)

    @precondition(lambda self: self.granted)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        _, fence = data.draw(st.sampled_from(self.granted))
        released = decide_release(self.state, fence)
        assert (released is not None) == (fence not in self.gone)
        if released is not None:
            assert released == LeaseState(fencing_token=self.state.fencing_token)
            self.gone.add(fence)
            self.state = released

    @rule(step=st.sampled_from([1, TTL - 1, TTL, TTL + 1]))
    def time_passes(self, step: int) -> None:
        self.now += step

    @invariant()
    def at_most_one_fence_is_current_and_it_is_the_last_one_granted(self) -> None:
        current = [fence for _, fence in self.granted if is_current(self.state, fence)]
        live = [fence for _, fence in self.granted if fence not in self.gone]
        assert current == live
        assert len(current) <= 1
        assert all(fence == self.granted[-1][1] for fence in current)

    @invariant()
    def tokens_grow_strictly_from_grant_to_grant(self) -> None:
        tokens = [fence.fencing_token for _, fence in self.granted]
        assert tokens == sorted(set(tokens))


LeaseModel.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestLeaseModel = LeaseModel.TestCase
