"""The router: what occurs is written down with all it means, and all of that is started (tools spec 5.5).

Writing down and reserving is one transaction; starting comes behind it, and is made good by whoever finds
it undone: the caller who emits again, a runtime that opens, the sweep. A delivery is started under its
own id, so it does not matter how often that is tried.
"""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Protocol

from lash.core.errors import ConflictError, LashError
from lash.core.json import Data
from lash.effects.shielding import shielded
from lash.effects.waits.hints import token_of
from lash.runtime.environment import Environment
from lash.runtime.events import TriggerDeliveryFailed
from lash.runtime.standstill import standstill
from lash.runtime.triggers.reports import DeliveryReport, DeliveryStatus, EmitReport
from lash.runtime.triggers.starting import StartHost, spoken_to, start
from lash.triggers.checking import check_occurrence, check_operation
from lash.triggers.commands import TriggerOperation, TriggerOutcome
from lash.triggers.listing import DeliveryFilter, DeliverySettled
from lash.triggers.model import Delivery, DeliveryFailure, OccurrenceRequest, namespace
from lash.triggers.transitions import Ingested, OccurrenceConflict

_log = logging.getLogger("lash.runtime")

#: How many deliveries are started at once: enough that their transactions share commits.
_AT_ONCE = 32

#: How many are read, and settled, at once.
_PAGE = 256

#: What was reserved more lately than this is being started by whoever emitted it.
_GRACE_MS = 1000

#: How far back a quick look goes; what is older waits for code, or for the slow look.
_LATELY_MS = 10_000

#: What passes when code comes that a runtime lacks: not kept as a failure.
_WAITS_FOR_CODE = frozenset({"process_unregistered", "agent_unknown"})


class RouterHost(StartHost, Protocol):
    """What a router needs of the runtime it belongs to."""

    environment: Environment
    closing: bool

    def busy(self) -> None:
        """Something is being started."""
        ...

    def resting(self) -> None:
        """All that is under way may wait for the outside now."""
        ...


class RecoveryReport(Data):
    """What a look for undone deliveries came to: how many were started, and how many not."""

    started: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class _Tried:
    """What came of trying to start a delivery."""

    delivery: Delivery
    status: DeliveryStatus
    failure: DeliveryFailure | None = None
    lasting: bool = False

    @property
    def settled(self) -> DeliverySettled | None:
        """What is to be kept of it."""
        if self.status == "already_started" or (self.status == "failed" and not self.lasting):
            return None
        return DeliverySettled(
            delivery_id=self.delivery.delivery_id,
            state="started" if self.status == "started" else "failed",
            failure=self.failure,
        )

    @property
    def report(self) -> DeliveryReport:
        """What the emitter is told."""
        subscription, failure = self.delivery.subscription, self.failure
        return DeliveryReport(
            delivery_id=self.delivery.delivery_id,
            subscription_id=subscription.subscription_id,
            key=subscription.key,
            owner=namespace(subscription.owner),
            status=self.status,
            process_id=self.delivery.process_id,
            session_id=spoken_to(self.delivery),
            code=None if failure is None else failure.code,
            message=None if failure is None else failure.message,
        )


class TriggerRouter:
    """Emits, and starts what was emitted.

    Args:
        host: The runtime.
    """

    def __init__(self, host: RouterHost) -> None:
        self._host = host
        self._seams = host.environment.seams
        self._under_way = 0
        self._starting: dict[str, asyncio.Future[_Tried]] = {}
        self._looking = asyncio.Lock()
        self._token: int | None = None
        self._look_again = True

    @property
    def quiet(self) -> bool:
        """Whether nothing is being emitted or started here."""
        return self._under_way == 0

    # --- commands -------------------------------------------------------------------------------

    async def execute(self, operation: TriggerOperation) -> TriggerOutcome:
        """Do something to subscriptions, once.

        Raises:
            LashError: `trigger_subscription_invalid`, `runtime_closed`.
        """
        self._check_open()
        check_operation(operation)
        return await shielded(self._execute(operation))

    async def _execute(self, operation: TriggerOperation) -> TriggerOutcome:
        self._seams("trigger.execute.before")
        outcome = await self._host.store.triggers.execute(operation)
        self._seams("trigger.execute.after")
        return outcome

    # --- emitting -------------------------------------------------------------------------------

    async def emit(self, request: OccurrenceRequest) -> EmitReport:
        """Write down an occurrence and start all it means; seen through although the caller is cancelled.

        Raises:
            LashError: `trigger_occurrence_invalid`, `runtime_closed`.
            ConflictError: `trigger_occurrence_conflict`.
        """
        self._check_open()
        check_occurrence(request)
        return await shielded(self._emit(request))

    async def _emit(self, request: OccurrenceRequest) -> EmitReport:
        self._begin()
        try:
            self._seams("trigger.ingest.before")
            result = await self._host.store.triggers.ingest(request)
            self._seams("trigger.ingest.after")
            if isinstance(result, OccurrenceConflict):
                raise _conflict(request, result)
            tried = await self._start_all(result.deliveries)
        finally:
            self._end()
        return EmitReport(
            occurrence=result.occurrence,
            replayed=not isinstance(result, Ingested),
            deliveries=tuple(each.report for each in tried),
        )

    async def retry(self, delivery_id: str) -> DeliveryReport:
        """Start a delivery that failed, or was never started.

        Raises:
            LashError: `trigger_delivery_unknown`, `runtime_closed`.
        """
        self._check_open()
        wanted = DeliveryFilter(delivery_id=delivery_id)
        found = await self._host.store.triggers.list_deliveries(wanted)
        if not found:
            raise LashError(
                "trigger_delivery_unknown",
                f"No delivery {delivery_id!r} is stored; one goes with the process that it started.",
            )
        (tried,) = await shielded(self._counted(found))
        return tried.report

    # --- going on without being asked -----------------------------------------------------------

    async def recover(self, *, failed_too: bool = False) -> RecoveryReport:
        """Start what was reserved and never started; with `failed_too`, try again what failed."""
        async with self._looking:
            report = await self._recover(DeliveryFilter(state="reserved"))
            if failed_too:
                again = await self._recover(DeliveryFilter(state="failed"))
                report = RecoveryReport(
                    started=report.started + again.started, failed=report.failed + again.failed
                )
            return report

    async def look(self) -> None:
        """As `recover`, for what was reserved lately, if anybody wrote to the store.

        What was reserved just now is left for a moment, and what was tried before for `recover`.
        """
        token, now_ms = await token_of(self._host.store), self._host.environment.clock.now_ms()
        if self._looking.locked() or (token == self._token and not self._look_again):
            return
        async with self._looking:
            self._token, self._look_again = token, False
            wanted = DeliveryFilter(state="reserved", from_ms=now_ms - _LATELY_MS)
            await self._recover(wanted, _GRACE_MS)

    def open(self) -> Coroutine[object, object, None]:
        """Take up what others left behind, when the runtime opens: nothing is quiet until that is done."""
        self._begin()
        return self._open()

    async def _open(self) -> None:
        try:
            await self.recover(failed_too=True)
        except Exception:  # noqa: BLE001  the sweep looks again
            _log.warning("reserved deliveries could not be looked for", exc_info=True)
        finally:
            self._end()

    async def _recover(self, wanted: DeliveryFilter, grace_ms: int = 0) -> RecoveryReport:
        store, clock = self._host.store.triggers, self._host.environment.clock
        after, started, failed = "", 0, 0
        while not self._host.closing:
            page = await store.list_deliveries(wanted, after=after, limit=_PAGE)
            if not page:
                break
            after = page[-1].delivery_id
            until = clock.now_ms() - grace_ms
            due = [each for each in page if not grace_ms or each.created_at_ms <= until]
            if len(due) < len(page):
                self._look_again = True
            tried = await shielded(self._counted(due)) if due else ()
            started += sum(each.status == "started" for each in tried)
            failed += sum(each.status == "failed" for each in tried)
        return RecoveryReport(started=started, failed=failed)

    # --- starting -------------------------------------------------------------------------------

    async def _counted(self, deliveries: Sequence[Delivery]) -> Sequence[_Tried]:
        self._begin()
        try:
            return await self._start_all(deliveries)
        finally:
            self._end()

    async def _start_all(self, deliveries: Sequence[Delivery]) -> Sequence[_Tried]:
        """Try every delivery, in order, before telling of any; keep what came of them at once."""
        tried: list[_Tried] = []
        for place in range(0, len(deliveries), _AT_ONCE):
            group = deliveries[place : place + _AT_ONCE]
            tried += await asyncio.gather(*(self._joined(each) for each in group))
        settled = [each.settled for each in tried]
        kept = [each for each in settled if each is not None]
        if kept:
            try:
                self._seams("trigger.settle.before")
                await self._host.store.triggers.settle(kept)
                self._seams("trigger.settle.after")
            except Exception:  # noqa: BLE001  they were started all the same, and are found again
                _log.warning("what came of deliveries could not be kept", exc_info=True)
                self._look_again = True
        for each in tried:
            self._tell(each)
        return tried

    async def _joined(self, delivery: Delivery) -> _Tried:
        """Try a delivery, or wait for whoever tries it here just now."""
        under_way = self._starting.get(delivery.delivery_id)
        if under_way is not None:
            return await asyncio.shield(under_way)
        if delivery.state == "started":
            return _Tried(delivery, "already_started")
        future: asyncio.Future[_Tried] = asyncio.get_running_loop().create_future()
        self._starting[delivery.delivery_id] = future
        tried = _Tried(delivery, "failed", failure=_UNKNOWN)
        try:
            tried = await self._try(delivery)
        finally:
            del self._starting[delivery.delivery_id]
            future.set_result(tried)
        return tried

    async def _try(self, delivery: Delivery) -> _Tried:
        self._seams("trigger.start.before")
        try:
            await start(self._host, delivery)
        except LashError as error:
            lasting = not error.retryable and error.code not in _WAITS_FOR_CODE
            lasting = lasting and error.code != "runtime_closed"
            failure = DeliveryFailure(code=error.code, message=error.message)
            return _Tried(delivery, "failed", failure=failure, lasting=lasting)
        except Exception as error:  # noqa: BLE001  one delivery that fails fails no other
            _log.exception("delivery %s could not be started", delivery.delivery_id)
            said = f"It could not be started ({type(error).__name__}); it is tried again."
            failure = DeliveryFailure(code="trigger_start_failed", message=said)
            return _Tried(delivery, "failed", failure=failure)
        self._seams("trigger.start.after")
        return _Tried(delivery, "started")

    def _tell(self, tried: _Tried) -> None:
        """Tell those who watch of what does not go on by itself, once."""
        failure, delivery = tried.failure, tried.delivery
        if failure is None or not tried.lasting or delivery.failure == failure:
            return
        standstill.warning("delivery %s failed: %s", delivery.delivery_id, failure.message)
        self._host.environment.tell(
            TriggerDeliveryFailed(
                delivery_id=delivery.delivery_id,
                event=delivery.occurrence.event,
                key=delivery.subscription.key,
                code=failure.code,
                message=failure.message,
            )
        )

    # --- small things ---------------------------------------------------------------------------

    def _begin(self) -> None:
        self._under_way += 1
        self._host.busy()

    def _end(self) -> None:
        self._under_way -= 1
        self._host.resting()

    def _check_open(self) -> None:
        if self._host.closing:
            raise LashError("runtime_closed", "The runtime is closed; open it again to go on.")


_UNKNOWN = DeliveryFailure(
    code="trigger_start_failed", message="Starting it was broken off; it is tried again."
)


def _conflict(request: OccurrenceRequest, result: OccurrenceConflict) -> ConflictError:
    known = result.occurrence
    return ConflictError(
        "trigger_occurrence_conflict",
        f"The key {request.key!r} was used before, for an event {known.event!r} that says something "
        "else; nothing was emitted. A key stands for one occurrence: use another one for this.",
        key=request.key,
        occurrence_id=known.occurrence_id,
        event=known.event,
    )
