"""What a runtime has of attachments: sessions' stores, and one sweep at a time."""

import asyncio
from collections.abc import Callable

from lash.attachments.transitions import Sweeper
from lash.core.leases import LeaseClaim
from lash.runtime.attachment_reclaim import Reclaim, ReclaimReport
from lash.runtime.attachments import SessionAttachmentStore
from lash.runtime.environment import Environment
from lash.runtime.stores import Store


class AttachmentSide:
    """The attachments of a runtime.

    Args:
        store: Where they are kept.
        environment: The policy, the clock and who watches.
        claim: Says in whose name a sweep runs, with a nonce of its own.
    """

    def __init__(
        self, store: Store, environment: Environment, claim: Callable[[], LeaseClaim]
    ) -> None:
        self._store = store
        self._environment = environment
        self._claim = claim
        self._sweeping = asyncio.Lock()

    def of_session(self, session_id: str) -> SessionAttachmentStore:
        """The attachments of one session."""
        return SessionAttachmentStore(
            session_id,
            self._store.attachments,
            self._store.blobs,
            self._environment.attachment_policy,
            clock=self._environment.clock,
            is_dead=self._store.is_dead,
            seams=self._environment.seams,
        )

    async def reclaim(
        self, grace_ms: int, *, allow_empty: bool = False, clear_stuck: bool = False
    ) -> ReclaimReport:
        """Delete bytes that nobody refers to and that were put longer ago than `grace_ms`.

        Raises:
            LashError: What `Reclaim.run` raises.
        """
        async with self._sweeping:
            claim = self._claim()
            sweep = Reclaim(
                manifest=self._store.attachments,
                blobs=self._store.blobs,
                sweeper=Sweeper(owner=claim.owner, nonce=claim.nonce),
                before_ms=self._environment.clock.now_ms() - grace_ms,
                allow_empty=allow_empty,
                clear_stuck=clear_stuck,
                is_dead=self._store.is_dead,
                seams=self._environment.seams,
            )
            return await sweep.run()
