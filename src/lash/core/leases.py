"""Leases with fencing, as pure decisions: state in, decision out.

The rules (ARCHITECTURE D3, D4; turns spec 4.5):

1. A lease is owner, nonce, fencing token and expiry. The token grows with every takeover and
   survives release, so a number that was passed once never comes back.
2. What protects data is the *fence* (token and nonce), checked in the transaction of every write.
   Expiry never invalidates a holder by itself; it is permission for somebody else to take over.
3. A held lease may be taken when it has expired in the store's clock, or when its owner is proven
   dead. Elapsed time alone proves nothing else.
4. The same owner claiming again keeps its token and nonce and gets a new expiry.
5. Releasing or renewing with a fence that is no longer current changes nothing and says so.
"""

from typing import TypeAlias

import msgspec

from lash.core.errors import ConfigurationError
from lash.core.json import Data


class LeaseOwner(Data):
    """One incarnation of one runtime. `host` tells on which machine its proof of life lies."""

    owner_id: str
    incarnation: str
    host: str = ""


class Fence(Data):
    """What a write presents to prove that its writer still holds the lease."""

    fencing_token: int
    nonce: str


class Lease(Data):
    """A lease as somebody holds it. Times are milliseconds in the store's clock."""

    owner: LeaseOwner
    nonce: str
    fencing_token: int
    claimed_at_ms: int
    expires_at_ms: int

    @property
    def fence(self) -> Fence:
        """The proof that writes under this lease present."""
        return Fence(fencing_token=self.fencing_token, nonce=self.nonce)


class LeaseState(Data):
    """The stored row: the last fencing token ever given, and the holder if there is one."""

    fencing_token: int = 0
    held: Lease | None = None


class LeaseTimings(Data):
    """How long a lease lasts and how often it is renewed, in milliseconds.

    A ttl below three renewals would let one slow write cost the lease.
    """

    ttl_ms: int = 30_000
    renew_ms: int = 10_000

    def __post_init__(self) -> None:
        if self.renew_ms < 1 or self.ttl_ms < 3 * self.renew_ms:
            raise ConfigurationError(
                "lease_timings_invalid",
                f"A lease of {self.ttl_ms} ms renewed every {self.renew_ms} ms is too short: "
                "the ttl must be at least three times the renew interval, which must be at least 1 ms.",
                ttl_ms=self.ttl_ms,
                renew_ms=self.renew_ms,
            )


class LeaseClaim(Data):
    """A request for a lease. `presumed_dead` is a fencing token whose holder is proven dead.

    Naming the token, not the owner, makes the proof void once anybody else has taken over.
    """

    owner: LeaseOwner
    nonce: str
    ttl_ms: int
    presumed_dead: int | None = None


class Acquired(Data, tag_field="type", tag="acquired"):
    """The lease is held now. `displaced` is the dead or expired holder it was taken from."""

    lease: Lease
    displaced: Lease | None = None


class Busy(Data, tag_field="type", tag="busy"):
    """Somebody else holds the lease and may be alive."""

    holder: Lease


ClaimDecision: TypeAlias = Acquired | Busy


def decide_claim(state: LeaseState, claim: LeaseClaim, now_ms: int) -> ClaimDecision:
    """Who holds the lease after `claim`."""
    held = state.held
    expires = now_ms + claim.ttl_ms
    if held is not None and held.owner == claim.owner:
        return Acquired(lease=_extended(held, expires))
    if held is not None and not _may_take(held, claim, now_ms):
        return Busy(holder=held)
    taken = Lease(
        owner=claim.owner,
        nonce=claim.nonce,
        fencing_token=state.fencing_token + 1,
        claimed_at_ms=now_ms,
        expires_at_ms=expires,
    )
    return Acquired(lease=taken, displaced=held)


def _may_take(held: Lease, claim: LeaseClaim, now_ms: int) -> bool:
    return held.expires_at_ms <= now_ms or claim.presumed_dead == held.fencing_token


def is_current(state: LeaseState, fence: Fence) -> bool:
    """Whether a write that presents `fence` comes from the holder."""
    held = state.held
    return held is not None and held.fence == fence


def decide_renewal(state: LeaseState, fence: Fence, ttl_ms: int, now_ms: int) -> Lease | None:
    """The lease with a later expiry, or None when the fence is not current (the lease is lost)."""
    held = state.held
    if held is None or held.fence != fence:
        return None
    return _extended(held, now_ms + ttl_ms)


def _extended(held: Lease, expires_at_ms: int) -> Lease:
    """The same lease, never shortened: a clock set back must not cost the holder its lease."""
    later = max(expires_at_ms, held.expires_at_ms)
    return msgspec.structs.replace(held, expires_at_ms=later)


def decide_release(state: LeaseState, fence: Fence) -> LeaseState | None:
    """The row after release (its token kept), or None when the fence is not current."""
    if not is_current(state, fence):
        return None
    return LeaseState(fencing_token=state.fencing_token)
