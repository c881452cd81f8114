"""The processes of a runtime: what an application does with them (process spec; facade 8)."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar, overload

from lash.app.process_handle import ProcessHandle
from lash.core.durations import milliseconds
from lash.core.errors import LashError
from lash.core.json import JsonObject, JsonValue, to_json
from lash.processes.events import ProcessEvent
from lash.processes.listing import (
    ChangePage,
    LiveReference,
    ProcessFilter,
    PruneReport,
    PruneRequest,
    StatusFilter,
)
from lash.processes.model import (
    AbandonRequest,
    ExternalInput,
    ExternalRef,
    Originator,
    ProcessIdentity,
    ProcessRecord,
    ProcessRegistration,
    originator_id,
)
from lash.processes.outcomes import (
    ExternalOwner,
    ProcessAwaitOutput,
    ProcessCancelled,
    ProcessFailure,
    ProcessFailureClass,
    ProcessSuccess,
)
from lash.processes.registration import RegisterRequest, check_process_id
from lash.processes.wakes import WakeDelivery, WakeState
from lash.processes.writes import (
    ChangeObservers,
    CompleteByAuthority,
    ProcessWrite,
    RequestAbandon,
    RetargetWakes,
    SetExternalRef,
    Superseded,
)
from lash.runtime.checks import check_id
from lash.runtime.engine import Engine
from lash.runtime.processes.admission import AdmissionReport
from lash.runtime.processes.function import ProcessFunction
from lash.runtime.processes.refusals import standing
from lash.runtime.processes.session_side import OF_HOST, ProcessAccess, of_session
from lash.tools.manifest import ToolGrant

R = TypeVar("R")

#: How many events are read at once.
_PAGE = 256

#: How many changes are read at once.
_CHANGES = 256


class Processes:
    """Background work of a runtime: `runtime.processes`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._side = engine.processes

    # --- starting -------------------------------------------------------------------------------

    async def start(
        self,
        function: ProcessFunction[..., R],
        /,
        *args: object,
        id: str | None = None,  # noqa: A002  what the face calls it everywhere
        session: str | None = None,
        label: str | None = None,
        **keywords: object,
    ) -> ProcessHandle[R]:
        """Start a process, durably: when this returns it is accepted and will be finished.

            handle = await runtime.processes.start(refund, "o-7", id="refund-o-7")

        Args:
            function: What runs; one of the runtime's `processes`.
            *args: Its arguments, behind the context. They are validated here, not when it runs.
            id: Your own name for the process: the same id with the same arguments is the same process,
                with others a conflict.
            session: The session that is accountable for it: it may see the process, and is woken by it.
            label: What it is shown as; the function's name by default.
            **keywords: Its arguments, by name.

        Raises:
            ConfigurationError: `process_unregistered`. ConflictError: `process_conflict`.
            LashError: `process_arguments_invalid`, `value_not_json`, `process_id_invalid`,
                `process_no_longer_retained`, `runtime_closed`.
        """
        self._side.functions.check(function)
        return await self._start(
            function, args, keywords, process_id=id, session=session, label=label
        )

    async def start_named(
        self,
        name: str,
        args: JsonObject,
        *,
        id: str | None = None,  # noqa: A002  what the face calls it everywhere
        session: str | None = None,
    ) -> ProcessHandle[Any]:
        """Start a process of a registered function by its name, with arguments as JSON.

        Raises:
            As `start`.
        """
        function = self._side.functions.named(name)
        return await self._start(function, (), args, process_id=id, session=session)

    async def _start(
        self,
        function: ProcessFunction[..., R],
        args: tuple[object, ...],
        keywords: Mapping[str, object],
        *,
        process_id: str | None,
        session: str | None,
        label: str | None = None,
    ) -> ProcessHandle[R]:
        access = self._access(session)
        request = access.of_function(function, self._id(process_id), args, keywords, label)
        record = await access.start(request)
        return ProcessHandle(self._side, record.process_id, function.read_result)

    async def start_turn(
        self,
        agent: str,
        prompt: str,
        *,
        id: str | None = None,  # noqa: A002  what the face calls it everywhere
        session: str | None = None,
        output: object = None,
    ) -> ProcessHandle[Any]:
        """Have an agent work on something in the background, in a session of its own or in `session`.

        Raises:
            ConfigurationError: `agent_unknown`. ConflictError: `process_conflict`.
        """
        access = self._access(None)
        request = access.of_turn(
            self._id(id), agent=agent, prompt=prompt, output=output, session_id=session
        )
        record = await access.start(request)
        return ProcessHandle(self._side, record.process_id)

    async def start_tool(
        self,
        agent: str,
        tool: str | ToolGrant,
        args: JsonObject,
        *,
        id: str | None = None,  # noqa: A002  what the face calls it everywhere
        session: str | None = None,
    ) -> ProcessHandle[Any]:
        """Call a tool of an agent in the background.

        Args:
            agent: The agent.
            tool: One of its tools, by name; or a grant, for a tool that it is not offered.
            args: What the tool is called with.
            id: Your own name for the process.
            session: The session in whose name it is called; it must have the tool.

        Raises:
            ConfigurationError: `agent_unknown`; of a grant `tool_source_unknown`, `tool_schema_invalid`.
            ConflictError: `process_conflict`.
            LashError: `process_tool_missing`, `invalid_tool_args`; of a grant `tool_grant_source_missing`,
                `granted_tool_id_mismatch`, `tool_unavailable`, `value_not_json`.
        """
        told = to_json(args)
        access = self._access(session)
        request = await access.of_tool(
            self._engine.agents.newest(agent),
            self._id(id),
            tool,
            told if isinstance(told, dict) else {},
        )
        record = await access.start(request)
        return ProcessHandle(self._side, record.process_id)

    async def start_external(
        self,
        metadata: object = None,
        *,
        id: str | None = None,  # noqa: A002  what the face calls it everywhere
        session: str | None = None,
        reference: tuple[str, str] | None = None,
    ) -> ProcessHandle[Any]:
        """Keep the record of work that somebody else does, until `complete` or `fail` is called for it.

        Args:
            metadata: What is known of it; its `label`, `name` or `title` is what it is shown as.
            id: Your own name for it.
            session: The session that is accountable for it and may see it.
            reference: Where it is really done: a system and its id there.

        Raises:
            ConflictError: `process_conflict`. LashError: `value_not_json`, `process_id_invalid`.
        """
        told, access = to_json(metadata), self._access(session)
        standing = access.standing
        request = RegisterRequest(
            registration=ProcessRegistration(
                process_id=self._id(id),
                input=ExternalInput(metadata=told),
                disposition="externally_owned",
                identity=ProcessIdentity(kind="external", label=_label_of(told)),
                provenance=standing.provenance,
                open_signals=True,
                wake_session_id=standing.wake_session_id,
            ),
            observers=standing.observers,
        )
        record = await access.start(request)
        if reference is not None:
            backend, there = reference
            await self._write(
                record.process_id,
                SetExternalRef(external_ref=ExternalRef(backend=backend, id=there)),
            )
        return ProcessHandle(self._side, record.process_id)

    # --- looking --------------------------------------------------------------------------------

    @overload
    def handle(self, process_id: str) -> ProcessHandle[Any]: ...

    @overload
    def handle(self, process_id: str, function: ProcessFunction[..., R]) -> ProcessHandle[R]: ...

    def handle(
        self, process_id: str, function: ProcessFunction[..., Any] | None = None
    ) -> ProcessHandle[Any]:
        """A handle on a process that is there, or will be; with its function, results are read as typed."""
        check_process_id(process_id)
        return ProcessHandle(self._side, process_id, function.read_result if function else None)

    async def get(self, process_id: str) -> ProcessRecord:
        """A process as it stands.

        Raises:
            LashError: `process_unknown`, `process_no_longer_retained`.
        """
        return await self._side.registry.load(process_id)

    async def list(
        self,
        *,
        status: StatusFilter = "live",
        name: str | None = None,
        kind: str | None = None,
        session: str | None = None,
        originator: Originator | None = None,
        parent: str | None = None,
        parked: bool | None = None,
        after: str = "",
        limit: int = 1000,
    ) -> Sequence[ProcessRecord]:
        """Processes by id, those that are live by default.

        Args:
            status: A status, `live`, `retired` or `any`.
            name: Of this function (or agent).
            kind: Of this kind: `python`, `tool`, `session_turn`, `external`.
            session: Which this session may see.
            originator: Who is accountable.
            parent: Children of this process.
            parked: Only what does not go on by itself, or only what does.
            after: Ids behind this one.
            limit: At most so many.
        """
        wanted = ProcessFilter(
            status=status,
            definition=name,
            kind=kind,
            originator=None if originator is None else originator_id(originator),
            parent_id=parent,
            observed_by=session,
            parked=parked,
        )
        return await self._engine.store.list_processes(wanted, after=after, limit=limit)

    async def events(
        self, process_id: str, *, after: int = 0, limit: int = 1000
    ) -> Sequence[ProcessEvent]:
        """A process's log behind a sequence number.

        Raises:
            LashError: `process_unknown`, `process_no_longer_retained`.
        """
        await self._side.registry.load(process_id)
        return await self._engine.store.process_events(process_id, after=after, limit=limit)

    async def changes(self, cursor: int = 0, *, limit: int = _CHANGES) -> ChangePage:
        """What changed behind a cursor, each process once at its latest; go on with the page's cursor.

        A reader that does so misses nothing, whoever writes. Pruned processes come as tombstones.
        """
        return await self._engine.store.processes_changed_since(cursor, limit)

    async def follow(self, cursor: int | None = None) -> AsyncIterator[ProcessRecord]:
        """Every process as it changes, from a cursor or from now on, for as long as you listen."""
        store = self._engine.store
        at = await store.change_cursor() if cursor is None else cursor
        clock = self._engine.environment.clock
        while not self._engine.closing:
            page = await store.processes_changed_since(at, _CHANGES)
            at = page.cursor
            for change in page.changes:
                record = getattr(change, "record", None)
                if record is not None:
                    yield record
            if not page.changes:
                await clock.sleep(0.05)

    async def live_references(self) -> Sequence[LiveReference]:
        """Which code live processes need: look before you take a version away."""
        return await self._engine.store.live_references()

    async def wakes(
        self, process_id: str, state: WakeState | None = None
    ) -> Sequence[WakeDelivery]:
        """A process's wakes and what became of them."""
        return await self._engine.store.list_wakes(process_id, state)

    # --- steering -------------------------------------------------------------------------------

    async def signal(
        self,
        process_id: str,
        name: str,
        payload: object = None,
        *,
        id: str | None = None,  # noqa: A002  what the face calls it everywhere
    ) -> ProcessEvent:
        """Send a process a signal; see `ProcessHandle.signal`."""
        return await self._side.registry.signal(process_id, name, payload, id)

    async def cancel(self, process_id: str, reason: str | None = None) -> ProcessRecord:
        """Ask a process to stop; see `ProcessHandle.cancel`."""
        return await self._side.registry.cancel(process_id, reason)

    async def abandon(
        self, process_id: str, *, by: str = "host", reason: str | None = None
    ) -> ProcessRecord:
        """Give a process up: it ends as abandoned, without another word from its code.

        For what cannot go on: work whose worker is gone for good, whose code will never be back, or
        that does not answer to `cancel`. A live worker drops it as soon as it hears of it.

        Raises:
            LashError: `process_unknown`, `process_already_terminal`, `process_no_longer_retained`.
        """
        check_id(by, "process_registration_invalid", "Who gives a process up")
        request = AbandonRequest(
            requested_by=by, requested_at_ms=self._engine.environment.clock.now_ms(), reason=reason
        )
        record = await self._write(process_id, RequestAbandon(request=request))
        self._side.worker.nudge(process_id)
        return record

    async def complete(
        self, process_id: str, value: object = None, *, granted_to: str | None = None
    ) -> ProcessRecord:
        """Say that work done elsewhere came to its end.

        Raises:
            LashError: `process_completion_refused`: it is not externally owned;
                `process_already_terminal`: it ended before, in another way; `value_not_json`.
        """
        return await self._complete(process_id, ProcessSuccess(value=to_json(value)), granted_to)

    async def fail(
        self,
        process_id: str,
        message: str,
        *,
        code: str = "external",
        failure_class: ProcessFailureClass = "external",
        granted_to: str | None = None,
    ) -> ProcessRecord:
        """Say that work done elsewhere failed.

        Raises:
            LashError: As `complete`.
        """
        outcome = ProcessFailure(failure_class=failure_class, code=code, message=message)
        return await self._complete(process_id, outcome, granted_to)

    async def complete_cancelled(
        self, process_id: str, message: str, *, granted_to: str | None = None
    ) -> ProcessRecord:
        """Say that work done elsewhere was stopped.

        Raises:
            LashError: As `complete`.
        """
        return await self._complete(process_id, ProcessCancelled(message=message), granted_to)

    async def _complete(
        self, process_id: str, outcome: ProcessAwaitOutput, granted_to: str | None
    ) -> ProcessRecord:
        write = CompleteByAuthority(outcome=outcome, authority=ExternalOwner(granted_to=granted_to))
        result = standing(await self._side.registry.write(process_id, write), process_id)
        if isinstance(result, Superseded):
            raise LashError(
                "process_already_terminal",
                f"Process {process_id!r} ended before, and otherwise ({result.record.status}).",
                process_id=process_id,
            )
        return result.record

    async def wake_session(self, process_id: str, session_id: str | None) -> ProcessRecord:
        """Send a process's wakes to another session from here on, or nowhere.

        Raises:
            LashError: `process_unknown`, `process_no_longer_retained`.
        """
        return await self._write(process_id, RetargetWakes(session_id=_session(session_id)))

    async def show_to(self, process_id: str, session_id: str, *, by: str = "host") -> ProcessRecord:
        """Let a session see a process.

        Raises:
            LashError: `process_unknown`, `process_no_longer_retained`.
        """
        check_id(session_id, "session_id_invalid", "A session id")
        return await self._write(process_id, ChangeObservers(by=by, add=(session_id,)))

    async def hide_from(
        self, process_id: str, session_id: str, *, by: str = "host"
    ) -> ProcessRecord:
        """Let a session see a process no longer.

        Raises:
            LashError: `process_unknown`, `process_no_longer_retained`.
        """
        return await self._write(process_id, ChangeObservers(by=by, remove=(session_id,)))

    async def redrive_wake(self, process_id: str, sequence: int) -> bool:
        """Try a discarded wake again; False when there is none."""
        found = await self._engine.store.redrive_wake(process_id, sequence)
        self._side.wakes.woken()
        return found

    async def drive(self) -> AdmissionReport:
        """Look through the store now for what nobody runs; the worker does so by itself."""
        return await self._side.worker.scan(parked_too=True)

    # --- keeping --------------------------------------------------------------------------------

    async def prune(
        self,
        older_than: timedelta = timedelta(0),
        *,
        name: str | None = None,
        through: int | None = None,
    ) -> PruneReport:
        """Forget processes that ended longer ago than `older_than`: events, journals and all.

        What is left of each is its id, which is not used again, and how it ended. Live processes, and
        those whose wakes are not delivered yet, are never touched.

        Args:
            older_than: Leave alone what changed more lately than this.
            name: Only of this function.
            through: Only what your projector has seen: the cursor it has got to in `changes`.

        Raises:
            LashError: `duration_invalid`.
        """
        age_ms = milliseconds(older_than, "older_than")
        now_ms = self._engine.environment.clock.now_ms()
        request = PruneRequest(
            before_ms=now_ms - age_ms + 1 if not age_ms else now_ms - age_ms,
            filter=ProcessFilter(status="retired", definition=name),
            through=through,
        )
        total = PruneReport()
        while True:  # a bounded piece at a time, so that no writer waits long
            step = await self._engine.store.prune_processes(request)
            total = PruneReport(
                processes=total.processes + step.processes,
                events=total.events + step.events,
                records=total.records + step.records,
                kept_for_wakes=step.kept_for_wakes,
            )
            if not step.more or not step.processes:
                return total

    # --- small things ---------------------------------------------------------------------------

    async def _write(self, process_id: str, write: ProcessWrite) -> ProcessRecord:
        result = await self._side.registry.write(process_id, write)
        return standing(result, process_id).record

    def _access(self, session: object) -> ProcessAccess:
        """In whose name something is started: a session's, or the host's own."""
        owner = _session(session)
        return ProcessAccess(self._side, OF_HOST if owner is None else of_session(owner))

    def _id(self, given: object) -> str:
        if given is None:
            return self._engine.environment.ids.new("process")
        return check_process_id(given)


def _session(given: object) -> str | None:
    if given is None:
        return None
    check_id(given, "session_id_invalid", "A session id")
    return str(given)


def _label_of(metadata: JsonValue) -> str | None:
    """What an external process is shown as: the first name its metadata holds."""
    if not isinstance(metadata, dict):
        return None
    names = (metadata.get(key) for key in ("label", "name", "title"))
    return next((name for name in names if isinstance(name, str) and name.strip()), None)
