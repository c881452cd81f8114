"""`ctx.processes`: the processes of a tool's session, for the body of one attempt (process spec 6).

What an attempt starts is named by its call and an ordinal, so an attempt that is run again finds it.
Nothing here is recorded on its own; the attempt is.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from lash.core.cancel import Cancellation
from lash.core.causality import ToolCallCauseRef
from lash.core.durations import Duration, milliseconds
from lash.core.errors import LashError, ProcessError
from lash.core.json import JsonObject, JsonValue, to_json
from lash.core.text import is_utf8
from lash.effects.outcomes import ChildTurn
from lash.llm.direct import output_contract
from lash.llm.usage import Usage
from lash.processes import event_types as types
from lash.processes.model import ProcessRecord, SessionTurnInput
from lash.processes.outcomes import ObservedOutput
from lash.processes.registration import RegisterRequest, check_process_id
from lash.runtime.agents import AgentDefinition
from lash.runtime.asking_again import asking_again
from lash.runtime.children import CHILD_SOURCE, relation_below
from lash.runtime.events import Announce, ChildUsageReported
from lash.runtime.processes.refusals import not_visible, value_of
from lash.runtime.processes.session_side import (
    AccessHost,
    ProcessAccess,
    Standing,
    of_process,
    of_session,
    view_of,
)
from lash.runtime.processes.tool_calls import tool_missing
from lash.runtime.processes.turns import turn_value
from lash.runtime.tool_catalog import tools_now
from lash.runtime.tool_services import CallWork
from lash.sessions.model import AgentRef, ChildUsage, RootSession, SessionHead, SessionRelation
from lash.tools.manifest import ToolGrant, for_models
from lash.tools.model import ChildAnswer
from lash.tools.processes import (
    AnyProcess,
    NamedProcess,
    ProcessNote,
    ProcessRef,
    ProcessView,
)

T = TypeVar("T")

_log = logging.getLogger("lash.runtime")


class CallSide:
    """Gives tool calls their processes."""

    def __init__(self, host: AccessHost) -> None:
        self._host = host

    def of_turn(
        self,
        work: CallWork,
        *,
        head: SessionHead,
        agent: AgentDefinition,
        turn_id: str,
        announce: Announce,
    ) -> "CallProcesses":
        """Those of a call that a turn makes."""
        session_id = head.session_id
        cause = ToolCallCauseRef(session_id=session_id, call_id=work.call_id)
        standing = of_session(session_id, head.frame_id or None, cause)
        asking = _Asking(work, agent, turn_id, announce)
        return CallProcesses(self._host, standing, asking)

    def of_process(
        self,
        work: CallWork,
        *,
        record: ProcessRecord,
        agent: AgentDefinition,
        session_id: str | None,
        announce: Announce,
    ) -> "CallProcesses":
        """Those of a call that runs as a process."""
        standing = of_process(record, session_id)
        asking = _Asking(work, agent, record.process_id, announce)
        return CallProcesses(self._host, standing, asking)


@dataclass(frozen=True, slots=True)
class _Asking:
    """The call that asks, whose agent it is, and the turn, or process, that makes it."""

    work: CallWork
    agent: AgentDefinition
    turn_id: str
    announce: Announce


class CallProcesses:
    """The processes of a tool call; see `lash.tools.processes.ToolProcesses`."""

    def __init__(self, host: AccessHost, standing: Standing, asking: _Asking) -> None:
        self._host = host
        self._registry = host.registry
        self._access = ProcessAccess(host, standing)
        self._asking = asking
        self._work = asking.work
        self._started = 0
        self._told = 0

    # --- starting -------------------------------------------------------------------------------

    async def start(
        self,
        process: NamedProcess | str,
        /,
        *args: object,
        id: str | None = None,  # noqa: A002  what the face calls it everywhere
        **keywords: object,
    ) -> ProcessRef:
        """Start a process of a function."""
        function = self._access.function_of(process)
        process_id = self._named(id, function.name)
        request = self._access.of_function(function, process_id, args, keywords)
        return await self._start(request)

    async def start_tool(
        self,
        tool: str | ToolGrant,
        args: JsonObject,
        *,
        id: str | None = None,  # noqa: A002  as above
        by_model: bool = False,
    ) -> ProcessRef:
        """Call a tool of the same agent in the background."""
        agent = self._asking.agent
        process_id = self._named(id, tool.manifest.name if isinstance(tool, ToolGrant) else tool)
        if by_model:
            state = await self._through(self._access.tool_state)
            if str(tool) not in for_models(tools_now(agent, state)):
                raise tool_missing(agent, str(tool), state)
        told = to_json(args)
        given = told if isinstance(told, dict) else {}
        return await self._start(
            await self._through(lambda: self._access.of_tool(agent, process_id, tool, given))
        )

    async def start_turn(
        self,
        agent: str,
        prompt: str,
        *,
        id: str | None = None,  # noqa: A002  as above
        output: object = None,
    ) -> ProcessRef:
        """Have an agent work on something in the background."""
        return await self._start(
            await self._turn(self._named(id, agent), agent, prompt, output, None)
        )

    async def run_turn(
        self,
        agent: str,
        prompt: str,
        *,
        id: str | None = None,  # noqa: A002  as above
        output: object = None,
        max_depth: int | None = None,
    ) -> ChildAnswer:
        """Have an agent work on something as a process, and wait for its answer."""
        contract = output_contract(output)
        request = await self._turn(self._named(id, agent), agent, prompt, output, max_depth)
        record = await self._through(lambda: self._access.start_again(request))
        ended = await self._ended(record.process_id)
        await self._through(lambda: self._book(record))
        turn = turn_value(value_of(record.process_id, ended))
        text = turn.turn.text
        return ChildAnswer(
            session_id=turn.child_session_id,
            turn_id=turn.turn.turn_id,
            text=text,
            outcome=turn.turn.outcome,
            value=text if output is None else contract.read(text),
        )

    def _named(self, given: object, name: str) -> str:
        """The id of what is started next: the caller's, or the call's own and how many came before.

        Taken before anything is awaited, so that what is started side by side is named in order.
        """
        self._started += 1
        if given is not None:
            return check_process_id(given)
        return check_process_id(f"{name.replace('#', '~')}:{self._work.key[-24:]}:{self._started}")

    async def _start(self, request: RegisterRequest) -> ProcessRef:
        record = await self._through(lambda: self._access.start_again(request))
        return ProcessRef(id=record.process_id)

    async def _turn(
        self, process_id: str, agent: str, prompt: str, output: object, max_depth: int | None
    ) -> RegisterRequest:
        relation = await self._through(lambda: self._relation(agent, max_depth))
        return self._access.of_turn(
            process_id, agent=agent, prompt=prompt, output=output, relation=relation
        )

    async def _relation(self, agent: str, max_depth: int | None) -> SessionRelation:
        """Where a session begun here comes from: it is a child of the session that the tool works for."""
        session_id = self._access.standing.session_id
        head = None if session_id is None else await self._registry.store.load_head(session_id)
        if head is None:
            return RootSession()
        return relation_below(
            head, self._asking.turn_id, self._work.call_id, agent=agent, max_depth=max_depth
        )

    async def _book(self, record: ProcessRecord) -> None:
        """Book with this attempt what a turn's session has used in all, whatever came of it."""
        asked = record.registration.input
        if not isinstance(asked, SessionTurnInput):
            raise _no_turn(record.process_id)
        spent = await self._registry.store.list_usage(asked.session_id)
        agents = self._host.agents
        ref = AgentRef(name=asked.agent_name, version=asked.agent_version)
        definition = agents.find(ref) or agents.newest(asked.agent_name)
        child = ChildTurn(
            session_id=asked.session_id,
            turn_id=record.process_id,
            model=f"{definition.model.provider}:{definition.model.name}",
            usage=sum((entry.usage for entry in spent), Usage()),
        )
        self._work.book(child)
        told = ChildUsage(
            session_id=child.session_id,
            turn_id=child.turn_id,
            source=CHILD_SOURCE,
            model=child.model,
            usage=child.usage,
        )
        self._asking.announce(ChildUsageReported(child=told))

    # --- waiting --------------------------------------------------------------------------------

    async def result(
        self,
        process: AnyProcess,
        *,
        timeout: Duration | None = None,  # noqa: ASYNC109  part of the face
    ) -> JsonValue:
        """What a process came to."""
        process_id = await self._visible(process)
        return value_of(process_id, await self._ended(process_id, timeout))

    async def wait(
        self,
        process: AnyProcess,
        *,
        timeout: Duration | None = None,  # noqa: ASYNC109  part of the face
    ) -> ProcessView:
        """A process once it has ended."""
        process_id = await self._visible(process)
        await self._ended(process_id, timeout)
        return await self.get(process_id)

    async def _ended(self, process_id: str, timeout: Duration | None = None) -> ObservedOutput:  # noqa: ASYNC109  as above
        """How a process ended. If the call is given up meanwhile, the process is asked to stop."""
        limit = None if timeout is None else milliseconds(timeout, "timeout") / 1000
        unsubscribe = self._work.cancel.on_cancel(lambda why: self._ask_to_stop(process_id, why))
        try:
            async with asyncio.timeout(limit), self._work.pause(process_id):
                return await self._through(lambda: self._registry.outcome(process_id))
        except TimeoutError as error:
            raise ProcessError(
                "process_result_timeout",
                f"Process {process_id!r} had not ended after {limit} s; it goes on.",
                process_id=process_id,
            ) from error
        finally:
            unsubscribe()

    def _ask_to_stop(self, process_id: str, why: Cancellation) -> None:
        asking = self._cancel_quietly(process_id, why.reason or "the tool call was stopped")
        self._host.worker.spawn(asking, f"lash-cancel-{process_id}")

    async def _cancel_quietly(self, process_id: str, reason: str) -> None:
        try:
            await self._registry.cancel(process_id, reason)
        except Exception:  # noqa: BLE001  nobody waits for it; the process comes to its end by itself
            _log.warning("process %s could not be asked to stop", process_id, exc_info=True)

    # --- looking and telling --------------------------------------------------------------------

    async def get(self, process: AnyProcess) -> ProcessView:
        """A process as it stands."""
        process_id = id_of(process)
        return view_of(await self._through(lambda: self._access.visible(process_id)))

    async def events(
        self, process: AnyProcess, event_type: str, *, after: int = 0
    ) -> Sequence[ProcessNote]:
        """What a process has noted of one type."""
        process_id = await self._visible(process)
        store = self._registry.store
        found = await self._through(
            lambda: store.process_events(process_id, after=after, event_type=event_type)
        )
        return [
            ProcessNote(
                sequence=each.sequence,
                event_type=each.event_type,
                payload=each.payload,
                occurred_at_ms=each.occurred_at_ms,
            )
            for each in found
        ]

    async def list(self, status: Literal["live", "all"] = "live") -> Sequence[ProcessView]:
        """What the session sees."""
        return [view_of(each) for each in await self._through(lambda: self._access.list(status))]

    async def signal(
        self,
        process: AnyProcess,
        name: str,
        payload: object = None,
        *,
        id: str | None = None,  # noqa: A002  what the face calls it everywhere
    ) -> None:
        """Send a process a signal, once."""
        self._told += 1
        chosen = id if id is not None else f"{self._work.key}:{self._told}"
        process_id = await self._visible(process)
        await self._through(lambda: self._registry.signal(process_id, name, payload, chosen))

    async def cancel(self, process: AnyProcess, reason: str | None = None) -> ProcessView:
        """Ask a process to stop."""
        process_id = await self._visible(process)
        return view_of(await self._through(lambda: self._registry.cancel(process_id, reason)))

    async def transfer(self, processes: Sequence[AnyProcess], to_session: str) -> None:
        """Hand processes to another session, all or none."""
        self._told += 1
        by = f"tool:{self._work.key}:{self._told}"
        if isinstance(processes, str | ProcessRef):
            processes = (processes,)  # one of them, and not its letters
        process_ids = [id_of(each) for each in processes]
        given: object = to_session
        if not isinstance(given, str) or not given.strip() or not is_utf8(given):
            raise LashError("session_id_invalid", "A session id must be text, and not blank.")

        async def transfer() -> None:
            # An attempt that is run again finds that the session gave them away before.
            if not await self._handed_over(process_ids, by):
                await self._access.transfer(process_ids, to_session, by)

        await self._through(transfer)

    async def _handed_over(self, process_ids: Sequence[str], by: str) -> bool:
        """Whether an earlier run of this attempt has handed them over: all or none, so one tells."""
        if not process_ids:
            return True
        removed = await self._registry.store.process_events(
            process_ids[0], event_type=types.OBSERVER_REMOVED
        )
        return any(
            isinstance(each.payload, dict) and each.payload.get("by") == by for each in removed
        )

    # --- small things ---------------------------------------------------------------------------

    async def _visible(self, process: AnyProcess) -> str:
        process_id = id_of(process)
        await self._through(lambda: self._access.visible(process_id))
        return process_id

    async def _through(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do something, past whatever says nothing of the tool: it must not become the call's answer.

        Everything done here may be done twice.
        """
        return await asking_again(work, self._registry.clock)


def id_of(process: object) -> str:
    """The id that is meant.

    Raises:
        LashError: `process_not_visible`: that is no process.
    """
    if isinstance(process, ProcessRef):
        return process.id
    if not isinstance(process, str):
        raise not_visible(repr(process), "")
    return process


def _no_turn(process_id: str) -> LashError:
    return LashError(
        "process_conflict",
        f"Process {process_id!r} exists already and is no turn of an agent.",
        process_id=process_id,
    )
