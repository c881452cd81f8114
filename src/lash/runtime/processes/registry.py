"""The processes of a runtime: registering them, telling them things, and waiting for them (spec 2, 9).

Rows are the truth. News of this process and the store's change feed say when to read them again.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from lash.core.clock import Clock, IdSource
from lash.core.errors import LashError
from lash.core.json import JsonValue, digest, to_json
from lash.core.leases import LeaseClaim
from lash.core.seams import SeamObserver, process_seam, unobserved
from lash.effects.shielding import shielded
from lash.processes import event_types as types
from lash.processes.events import ProcessEvent
from lash.processes.model import ProcessEnv, ProcessRecord, ProcessTombstone
from lash.processes.outcomes import NoLongerRetained, ObservedOutput
from lash.processes.registration import (
    AlreadyRegistered,
    Registered,
    RegisterRequest,
    RegisterResult,
    RegistrationConflict,
    prepare,
)
from lash.processes.writes import AppendEvent, ProcessWrite, Superseded, WriteResult, Written
from lash.runtime.processes.news import ProcessNews
from lash.runtime.processes.refusals import conflict, pruned, standing, unknown
from lash.runtime.stores import Store

#: Called after something was written to a process, with the process as it is.
Changed = Callable[[ProcessRecord], None]


@dataclass(slots=True)
class ProcessRegistry:
    """What is done to processes here, whoever runs them.

    Attributes:
        store: Where they are kept.
        clock: Where time comes from.
        ids: Where ids come from that nobody gave.
        seams: Told where a crash would be interesting.
        news: Who waits for them here.
        changed: Told what was written here.
        woken: Called when a wake was put into the outbox.
    """

    store: Store
    clock: Clock
    ids: IdSource
    seams: SeamObserver = unobserved
    news: ProcessNews = field(default_factory=ProcessNews)
    changed: list[Changed] = field(default_factory=list)
    woken: Callable[[], None] = lambda: None
    check_open: Callable[[], None] = lambda: None

    async def register(
        self,
        request: RegisterRequest,
        claim: LeaseClaim | None = None,
    ) -> tuple[ProcessRecord, Registered | AlreadyRegistered]:
        """Register a process, or find the same one.

        Raises:
            ConflictError: `process_conflict`. LashError: `process_id_invalid`,
                `process_registration_invalid`, `process_no_longer_retained`, `runtime_closed`.
        """
        self.check_open()
        prepared = prepare(request.registration)
        asked = RegisterRequest(
            registration=prepared, observers=request.observers, env=request.env, claim=claim
        )
        result = await shielded(self._register(asked))
        if isinstance(result, RegistrationConflict):
            raise conflict(result)
        if isinstance(result, ProcessTombstone):
            raise pruned(result)
        return result.record, result

    async def _register(self, request: RegisterRequest) -> RegisterResult:
        self.seams("process.register.before")
        result = await self.store.register_process(request)
        self.seams("process.register.after")
        if isinstance(result, Registered) and result.lease is None:
            self._tell(result.record)
        return result

    async def write(self, process_id: str, write: ProcessWrite) -> WriteResult:
        """Do something to a process, seen through although the caller is cancelled meanwhile."""
        return await shielded(self._write(process_id, write))

    async def _write(self, process_id: str, write: ProcessWrite) -> WriteResult:
        tag = str(write.__struct_config__.tag)
        self.seams(process_seam(tag, "before"))
        result = await self.store.write_process(process_id, write)
        self.seams(process_seam(tag, "after"))
        if isinstance(result, Written):
            if result.event is not None:
                self._tell(result.record)
            if result.wakes:
                self.woken()
        return result

    def _tell(self, record: ProcessRecord) -> None:
        self.news.bump(record.process_id)
        for listener in self.changed:
            listener(record)

    async def load(self, process_id: str) -> ProcessRecord:
        """A process as it stands.

        Raises:
            LashError: `process_unknown`, `process_no_longer_retained`.
        """
        found = await self.store.load_process(process_id)
        if found is None:
            raise unknown(process_id)
        if isinstance(found, ProcessTombstone):
            raise pruned(found)
        return found

    async def env(self, record: ProcessRecord) -> ProcessEnv:
        """What a process runs under.

        Raises:
            LashError: `process_env_missing`.
        """
        ref = record.registration.env_ref
        found = await self.store.load_env(ref) if ref is not None else ProcessEnv()
        if found is None:
            raise LashError(
                "process_env_missing",
                f"The environment of process {record.process_id!r} is not in the store any more.",
                process_id=record.process_id,
            )
        return found

    # --- telling --------------------------------------------------------------------------------

    async def signal(
        self, process_id: str, name: str, payload: object, signal_id: str | None = None
    ) -> ProcessEvent:
        """Append a signal to a process's log; the same id and payload is one signal.

        Raises:
            LashError: `process_unknown`, `process_no_longer_retained`, `process_already_terminal`,
                `process_signal_name_invalid`, `process_signal_undeclared`, `process_event_invalid`,
                `value_not_json`. ConflictError: `process_event_conflict`.
        """
        self.check_open()
        given: object = name
        if not isinstance(given, str) or not types.is_signal_name(name):
            raise LashError(
                "process_signal_name_invalid",
                f"{name!r} is no name of a signal: use letters, digits, '_' and '-'.",
            )
        chosen = signal_id if signal_id is not None else self.ids.new("signal")
        write = AppendEvent(
            event_type=types.signal_type(name),
            payload=to_json(payload),
            replay_key=f"process:{process_id}:signal.{name}:{chosen}",
        )
        result = standing(await self.write(process_id, write), process_id)
        if isinstance(result, Superseded) or result.event is None:
            raise unknown(process_id)
        return result.event

    async def cancel(self, process_id: str, reason: str | None = None) -> ProcessRecord:
        """Ask a process to stop; as a rule it still runs when this returns.

        Raises:
            LashError: `process_unknown`, `process_no_longer_retained`.
        """
        self.check_open()
        payload: JsonValue = {} if reason is None else {"reason": reason}
        hashed = digest("process-cancel", payload)
        write = AppendEvent(
            event_type=types.CANCEL_REQUESTED,
            payload=payload,
            replay_key=f"process:{process_id}:cancel_requested:{hashed}",
        )
        return standing(await self.write(process_id, write), process_id).record

    # --- waiting --------------------------------------------------------------------------------

    async def outcome(self, process_id: str) -> ObservedOutput:
        """How a process ended; waits until it did, whoever runs it.

        Raises:
            LashError: `process_unknown`.
        """
        with self.news.listening(process_id) as came:
            while True:
                came.clear()
                found = await self.store.load_process(process_id)
                if found is None:
                    raise unknown(process_id)
                if isinstance(found, ProcessTombstone):
                    return NoLongerRetained(
                        terminal_status=found.status, pruned_at_ms=found.pruned_at_ms
                    )
                if found.outcome is not None:
                    return found.outcome
                self.check_open()
                await came.wait()
