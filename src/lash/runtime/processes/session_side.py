"""Processes as a session sees them: in whose name they are started, and who may ask for them (spec 6).

Three facts stand apart: who is accountable (the originator), who may touch a process (its observers and
its parent), and who is woken by it. A session never learns whether a process exists that it cannot see.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from lash.core.causality import CausalRef
from lash.core.errors import ConflictError
from lash.core.json import JsonObject, JsonValue, encode
from lash.effects.shielding import shielded
from lash.processes.listing import ProcessFilter, StatusFilter
from lash.processes.model import (
    EngineInput,
    ProcessProvenance,
    ProcessRecord,
    ProcessRegistration,
    ProcessTombstone,
    SessionOriginator,
    SessionTurnInput,
    ToolCallInput,
)
from lash.processes.registration import RegisterRequest, child_provenance
from lash.runtime.agents import AgentDefinition, AgentRegistry
from lash.runtime.processes.function import ProcessFunction, ProcessFunctions
from lash.runtime.processes.refusals import not_visible
from lash.runtime.processes.registry import ProcessRegistry
from lash.runtime.processes.tool_calls import tool_request
from lash.runtime.processes.turns import turn_request
from lash.runtime.processes.worker import ProcessWorker
from lash.sessions.model import RootSession, SessionRelation
from lash.sessions.tools import UNTOLD, SessionToolState
from lash.tools.manifest import ToolGrant
from lash.tools.processes import NamedProcess, ProcessView


class AccessHost(Protocol):
    """What asking for processes needs of the runtime's side of them."""

    functions: ProcessFunctions
    registry: ProcessRegistry
    worker: ProcessWorker

    @property
    def agents(self) -> AgentRegistry:
        """The agents that can be asked."""
        ...


@dataclass(frozen=True, slots=True)
class Standing:
    """In whose name processes are asked for.

    Attributes:
        session_id: The session; None for a process that works for none.
        provenance: Where what is started comes from; its `parent_id` is the process that asks, if one does.
        wake_session_id: The session that what is started wakes.
        observers: The sessions that see what is started.
    """

    session_id: str | None
    provenance: ProcessProvenance
    wake_session_id: str | None
    observers: tuple[str, ...] = ()


#: The standing of an application that starts something in nobody's name.
OF_HOST = Standing(session_id=None, provenance=ProcessProvenance(), wake_session_id=None)


def of_session(
    session_id: str, frame_id: str | None = None, cause: CausalRef | None = None
) -> Standing:
    """The standing of a session, in its current agent frame."""
    originator = SessionOriginator(session_id=session_id, agent_frame_id=frame_id)
    return Standing(
        session_id=session_id,
        provenance=ProcessProvenance(originator=originator, caused_by=cause),
        wake_session_id=session_id,
        observers=(session_id,),
    )


def of_process(record: ProcessRecord, session_id: str | None) -> Standing:
    """The standing of a tool that runs as a process: that of any process towards its children.

    The session that the tool is told it works for lends it its eyes, and nothing more.
    """
    return Standing(
        session_id=session_id,
        provenance=child_provenance(record),
        wake_session_id=record.registration.wake_session_id,
    )


@dataclass(slots=True)
class ProcessAccess:
    """What one session, or one tool call, may do with processes.

    Attributes:
        host: The processes of the runtime.
        standing: In whose name.
        mine: What was started here; whoever starts a process may ask for it.
    """

    host: AccessHost
    standing: Standing
    mine: set[str] = field(default_factory=set)

    # --- what is asked for ----------------------------------------------------------------------

    def function_of(self, process: NamedProcess | str) -> ProcessFunction[..., Any]:
        """A process function of the runtime, by itself or by its name.

        Raises:
            ConfigurationError: `process_unregistered`.
        """
        if isinstance(process, ProcessFunction):
            self.host.functions.check(process)
            return process
        return self.host.functions.named(process if isinstance(process, str) else process.name)

    def of_function(
        self,
        function: ProcessFunction[..., Any],
        process_id: str,
        args: tuple[object, ...],
        keywords: Mapping[str, object],
        label: str | None = None,
    ) -> RegisterRequest:
        """What registers a process of a function.

        Raises:
            LashError: `process_arguments_invalid`, `value_not_json`.
        """
        standing = self.standing
        return function.registration(
            process_id,
            function.arguments(args, keywords),
            provenance=standing.provenance,
            wake_session_id=standing.wake_session_id,
            observers=standing.observers,
            label=label,
        )

    async def of_tool(
        self, agent: AgentDefinition, process_id: str, tool: str | ToolGrant, args: JsonObject
    ) -> RegisterRequest:
        """What registers a call of an agent's tool, as far as the session has it. Raises as `tool_request`."""
        standing = self.standing
        return tool_request(
            agent,
            process_id,
            tool,
            args,
            provenance=standing.provenance,
            state=await self.tool_state(),
            session_id=standing.session_id,
            wake_session_id=standing.wake_session_id,
            observers=standing.observers,
        )

    async def tool_state(self) -> SessionToolState:
        """What the session says about its tools, in whose name something is asked for."""
        session_id = self.standing.session_id
        head = None if session_id is None else await self.host.registry.store.load_head(session_id)
        return UNTOLD if head is None else head.tools

    def of_turn(
        self,
        process_id: str,
        *,
        agent: str,
        prompt: str,
        output: object,
        session_id: str | None = None,
        relation: SessionRelation = RootSession(),  # noqa: B008  a value
    ) -> RegisterRequest:
        """What registers a turn of an agent, in a session of its own unless one is named.

        Raises:
            ConfigurationError: `agent_unknown`, `direct_request_invalid`.
        """
        standing = self.standing
        return turn_request(
            self.host.agents,
            process_id,
            agent=agent,
            prompt=prompt,
            session_id=session_id,
            output=output,
            provenance=standing.provenance,
            relation=relation,
            wake_session_id=standing.wake_session_id,
            observers=standing.observers,
        )

    # --- starting -------------------------------------------------------------------------------

    async def start(self, request: RegisterRequest) -> ProcessRecord:
        """Register a process, or find the same one.

        Raises:
            ConflictError: `process_conflict`. LashError: What registering raises.
        """
        record, _ = await self.host.worker.register(request)
        self.mine.add(record.process_id)
        return record

    async def start_again(self, request: RegisterRequest) -> ProcessRecord:
        """As `start`, for what may have been started by code of another version.

        A process that the asker may see and that was asked to do the same is the one that is meant,
        whatever a deploy has changed in how it is declared.
        """
        try:
            return await self.start(request)
        except ConflictError:
            asked = request.registration
            known = await self._seen(asked.process_id)
            if known is None or not does_the_same(known.registration, asked):
                raise
            self.mine.add(known.process_id)
            return known

    # --- looking --------------------------------------------------------------------------------

    async def visible(self, process_id: str) -> ProcessRecord:
        """A process that the asker may see.

        Raises:
            LashError: `process_not_visible`: it may not, or there is none.
        """
        known = await self._seen(process_id)
        if known is None:
            raise not_visible(str(process_id), self.standing.session_id or "")
        return known

    async def _seen(self, process_id: str) -> ProcessRecord | None:
        store = self.host.registry.store
        record = await store.load_process(process_id)
        if record is None or isinstance(record, ProcessTombstone):
            return None
        parent = self.standing.provenance.parent_id
        if process_id in self.mine or (
            parent is not None and record.registration.provenance.parent_id == parent
        ):
            return record
        session_id = self.standing.session_id
        observed = session_id is not None and session_id in await store.observers_of(process_id)
        return record if observed else None

    async def list(
        self, status: StatusFilter | Literal["all"] = "live", *, after: str = "", limit: int = 1000
    ) -> Sequence[ProcessRecord]:
        """What the session sees, by id behind `after`."""
        session_id = self.standing.session_id
        if session_id is None:
            return ()
        wanted = ProcessFilter(status="any" if status == "all" else status, observed_by=session_id)
        return await self.host.registry.store.list_processes(wanted, after=after, limit=limit)

    # --- handing over ---------------------------------------------------------------------------

    async def transfer(self, process_ids: Sequence[str], to_session: str, by: str) -> None:
        """Hand processes to another session, all or none.

        Raises:
            LashError: `process_not_visible`; nothing was handed over.
        """
        session_id = self.standing.session_id
        if session_id is None:
            raise not_visible(", ".join(process_ids), "")
        store = self.host.registry.store
        hidden = await shielded(store.transfer_observers(session_id, to_session, process_ids, by))
        if hidden:
            raise not_visible(hidden[0], session_id)


def does_the_same(known: ProcessRegistration, asked: ProcessRegistration) -> bool:
    """Whether two registrations ask for the same work, whatever version of the code they name."""
    return encode(_work(known)) == encode(_work(asked))


def _work(registration: ProcessRegistration) -> JsonValue:
    match registration.input:
        case EngineInput(kind=kind, payload=payload):
            if not isinstance(payload, Mapping):
                return [kind, payload]
            return [kind, {key: each for key, each in payload.items() if key != "version"}]
        case ToolCallInput(call=call, grant=grant):
            return ["tool", call.tool_name, call.args, grant]
        case SessionTurnInput(session_id=session_id, agent_name=agent, turn_input=turn_input):
            return ["turn", session_id, agent, turn_input]
        case given:
            return ["external", given.metadata]


def view_of(record: ProcessRecord) -> ProcessView:
    """A process as a tool sees it."""
    identity, state = record.registration.identity, record.state
    return ProcessView(
        id=record.process_id,
        status=record.status,
        kind=identity.kind,
        label=identity.label,
        created_at_ms=record.created_at_ms,
        stopping=state.cancel is not None and not record.retired,
        parked=state.parked is not None,
    )
