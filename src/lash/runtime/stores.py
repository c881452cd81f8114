"""Everything a runtime keeps, in one place: the contracts of the domains together."""

from collections.abc import Mapping
from typing import Protocol

from lash.attachments.store import AttachmentManifest, BlobStore
from lash.core.leases import LeaseOwner
from lash.core.tiers import DurabilityTier
from lash.effects.journal import Journal
from lash.effects.waits.store import AwaitEventStore
from lash.processes.store import ProcessStore
from lash.sessions.store import SessionStore
from lash.triggers.store import TriggerStore


class Store(SessionStore, ProcessStore, Journal, AwaitEventStore, Protocol):
    """Everything a runtime keeps, in one place with one transaction domain."""

    @property
    def facets(self) -> Mapping[str, DurabilityTier]:
        """What this store keeps, and how much of it survives the process."""
        ...

    @property
    def triggers(self) -> TriggerStore:
        """Subscriptions and occurrences, in the same transaction domain."""
        ...

    @property
    def attachments(self) -> AttachmentManifest:
        """Who refers to which attachment, in the same transaction domain."""
        ...

    @property
    def blobs(self) -> BlobStore:
        """The bytes of attachments."""
        ...

    def is_dead(self, owner: LeaseOwner) -> bool:
        """Whether an owner is proven dead right now. False means only that there is no proof."""
        ...

    def living_owners(self) -> frozenset[str]:
        """The owners that live, by incarnation, as far as this store can tell.

        One that is missing from a later answer has died, or has left in good order.
        """
        ...

    def register_owner(self, owner_id: str, incarnation: str) -> LeaseOwner:
        """Announce an owner, with whatever proof of life this store knows."""
        ...

    async def aclose(self) -> None:
        """Finish what was begun and let go of the database."""
        ...
