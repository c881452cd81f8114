"""What a runtime has of attachments: sessions' stores, and one sweep at a time."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager

from lash.attachments.model import process_session_id
from lash.attachments.policy import ToolProducer
from lash.attachments.returned import Kept
from lash.attachments.transitions import Sweeper
from lash.attachments.values import decode_tool_value, encode_tool_value
from lash.core.errors import LashError
from lash.core.leases import LeaseClaim
from lash.core.scopes import ProcessScope, TurnScope
from lash.effects.waits.model import AwaitEventKey, ToolCompletionWait
from lash.processes.model import ProcessRecord
from lash.runtime.attachment_reclaim import Reclaim, ReclaimReport
from lash.runtime.attachments import SessionAttachmentStore, owned_by_process, owned_by_turn
from lash.runtime.environment import Environment
from lash.runtime.stores import Store
from lash.runtime.tool_attachments import stored_value


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

    async def answer(self, key: AwaitEventKey, answer: Kept) -> Kept:
        """What the outside answers a tool call with, its attachments stored for who waits for it.

        Raises:
            LashError: What `stored_value` raises; `attachment_invalid`, where no tool call waits.
        """
        scope = key.scope
        if not isinstance(key.wait, ToolCompletionWait):
            raise LashError(
                "attachment_invalid",
                "Attachments can be answered to tool calls only; whoever waits here takes plain JSON.",
            )
        if isinstance(scope, TurnScope):
            session_id = scope.session_id
            owned: AbstractContextManager[None] = owned_by_turn(session_id, scope.turn_id)
        elif isinstance(scope, ProcessScope):
            session_id = await self._session_of(scope.process_id)
            owned = owned_by_process(scope.process_id)
        else:
            raise LashError("attachment_invalid", "Nothing that waits here can keep attachments.")
        value = decode_tool_value(answer.payload)
        with owned:
            kept = await stored_value(value, self.of_session(session_id), ToolProducer())
        return Kept(payload=encode_tool_value(kept), has_attachments=True)

    async def _session_of(self, process_id: str) -> str:
        """The session whose attachments a process's tool is given."""
        record = await self._store.load_process(process_id)
        ref = record.registration.env_ref if isinstance(record, ProcessRecord) else None
        env = await self._store.load_env(ref) if ref is not None else None
        return env.session_id if env and env.session_id else process_session_id(process_id)

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
