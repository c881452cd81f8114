"""The engine of tool calls: any tool of an agent, run as a process (process spec 5.7)."""

from collections.abc import Awaitable, Callable
from typing import Protocol, assert_never

import msgspec

from lash.core.causality import RuntimeInvocation, scope_effect
from lash.core.errors import LashError, StoreError
from lash.core.json import JsonObject, to_json
from lash.core.seams import SeamObserver
from lash.effects.commands import PreparedToolCall
from lash.effects.hosts import EffectHost
from lash.effects.waits.model import AwaitEventKey, ToolCompletionWait
from lash.processes.model import (
    ProcessEnv,
    ProcessIdentity,
    ProcessProvenance,
    ProcessRecord,
    ProcessRegistration,
    ToolCallInput,
)
from lash.processes.outcomes import (
    ProcessAwaitOutput,
    ProcessCancelled,
    ProcessFailure,
    ProcessSuccess,
)
from lash.processes.registration import RegisterRequest, env_ref_of
from lash.runtime.agents import AgentDefinition, AgentRegistry, default_model
from lash.runtime.children import Children, ChildrenHost
from lash.runtime.events import Announce, TurnEvent
from lash.runtime.granted_tools import GrantedTool, grant_of
from lash.runtime.plugins.states import PluginStates
from lash.runtime.plugins.tool_hooks import ToolHooks
from lash.runtime.processes.run import ProcessRun
from lash.runtime.tool_attachments import OpenAttachments
from lash.runtime.tool_calling import BeginTriggers
from lash.runtime.tool_catalog import tools_now, unlisted
from lash.runtime.tool_dispatch import ToolDispatch
from lash.runtime.tool_services import CallWork
from lash.sessions.model import AgentRef, SessionHead
from lash.sessions.tools import UNTOLD, SessionToolState
from lash.tools.manifest import ToolGrant, for_models
from lash.tools.model import Tool
from lash.tools.processes import ToolProcesses
from lash.turn.tools import (
    PendingToolCall,
    ToolCancelled,
    ToolFailed,
    ToolOutput,
    ToolSuccess,
)

TOOL_CALL = "tool_call"

#: Before the id of a process, where a tool that belongs to no session is told which one it works for.
_NO_SESSION = "process-env:"


def tool_request(
    agent: AgentDefinition,
    process_id: str,
    tool: str | ToolGrant,
    args: JsonObject,
    *,
    provenance: ProcessProvenance,
    state: SessionToolState = UNTOLD,
    session_id: str | None = None,
    wake_session_id: str | None = None,
    observers: tuple[str, ...] = (),
) -> RegisterRequest:
    """What registers a call of an agent's tool as a process.

    `state` is what the session says about its tools in whose name the call is made.

    Raises:
        LashError: `process_tool_missing`, `invalid_tool_args`; of a grant `tool_grant_source_missing`,
            `granted_tool_id_mismatch`, `tool_unavailable`.
        ConfigurationError: `tool_source_unknown`, `tool_schema_invalid`.
    """
    found = (
        _granted(agent, tool, state)
        if isinstance(tool, ToolGrant)
        else tools_now(agent, state).get(tool)
    )
    if found is None:
        raise tool_missing(agent, str(tool), state)
    found.check(args)
    env = ProcessEnv(
        agent_name=agent.ref.name, agent_version=agent.ref.version, session_id=session_id
    )
    name, grant = found.name, grant_of(found)
    call = PreparedToolCall(call_id=process_id, tool_id=found.id, tool_name=name, args=args)
    return RegisterRequest(
        registration=ProcessRegistration(
            process_id=process_id,
            input=ToolCallInput(call=call, grant=to_json(grant)),
            disposition="rerunnable",
            identity=ProcessIdentity(kind="tool", label=name, definition=agent.ref.name),
            provenance=provenance,
            env_ref=env_ref_of(env),
            wake_session_id=wake_session_id,
        ),
        observers=observers,
        env=env,
    )


def _granted(agent: AgentDefinition, grant: ToolGrant, state: SessionToolState) -> GrantedTool:
    """The tool of a grant, if it is there now. What a session hides stays hidden from grants as well."""
    granted = GrantedTool(agent, grant)
    if granted.id in state.hidden:
        raise tool_missing(agent, granted.name, state)
    granted.inner()
    return granted


def tool_missing(agent: AgentDefinition, tool: str, state: SessionToolState = UNTOLD) -> LashError:
    """The error of a tool that an agent does not have, or not for whoever asks."""
    known = ", ".join(sorted(for_models(tools_now(agent, state)))) or "none"
    return LashError(
        "process_tool_missing",
        f"Agent {agent.ref.name!r} has no tool {tool!r}; it has: {known}. Nothing was registered.",
        tool=tool,
    )


class ProcessesOfTools(Protocol):
    """Gives the calls of tools that run as processes their own processes."""

    def of_process(
        self,
        work: CallWork,
        *,
        record: ProcessRecord,
        agent: AgentDefinition,
        session_id: str | None,
        announce: Announce,
    ) -> ToolProcesses:
        """The processes of one call."""
        ...


class ToolCallEngine:
    """Runs tools of agents outside of any turn."""

    kind = TOOL_CALL
    ordered = False

    def __init__(
        self,
        agents: AgentRegistry,
        effects: EffectHost,
        host: ChildrenHost,
        seams: SeamObserver,
        processes: ProcessesOfTools,
        *,
        triggers: BeginTriggers,
        load_head: Callable[[str], Awaitable[SessionHead | None]],
        attachments: OpenAttachments | None = None,
    ) -> None:
        self._agents = agents
        self._effects = effects
        self._host = host
        self._seams = seams
        self._processes = processes
        self._triggers = triggers
        self._load_head = load_head
        self._attachments = attachments

    def refusal(self, record: ProcessRecord) -> LashError | None:
        """Nothing is known before the environment was read: a missing agent parks the process then."""
        del record
        return None

    async def run(self, run: ProcessRun) -> ProcessAwaitOutput:
        """Call the tool, attempt by attempt; an answer it left to the outside is waited for."""
        given = _input_of(run.record)
        call = given.call
        env = await run.registry.env(run.record)
        agent = self._agent_of(run.record, env)
        tool = _tool_of(agent, given)
        if tool is None:
            raise LashError(
                "process_tool_missing",
                f"Process {run.record.process_id!r} calls the tool {call.tool_name!r}, which agent "
                f"{agent.ref.name!r} does not have here. It waits for a worker that has it.",
                tool=call.tool_name,
            )
        session_id = env.session_id or f"{_NO_SESSION}{run.record.process_id}"
        head = await self._head(agent, session_id, env)
        dispatch = ToolDispatch(
            {call.tool_name: tool},
            run.controller,
            run.clock,
            announce=_unheard,
            seams=self._seams,
            mint=lambda place: self._mint(run, place),
            models=default_model(agent, run.services.resolve_model),
            cancel=run.controller.cancel,
            children=lambda call_id, key, cancel: Children(
                host=self._host,
                parent=head,
                turn_id=run.record.process_id,
                call_id=call_id,
                call_key=key,
                announce=_unheard,
                cancel=cancel,
                clock=run.clock,
            ),
            processes=lambda work: self._processes.of_process(
                work,
                record=run.record,
                agent=agent,
                session_id=env.session_id,
                announce=_unheard,
            ),
            triggers=self._triggers,
            slot=run,
            hooks=_hooks(agent, head),
            attachments=self._attachments,
        )
        pending = PendingToolCall(call_id=call.call_id, tool_name=call.tool_name, args=call.args)
        (completed,) = await dispatch.run_batch(
            _parent(session_id, run.record.process_id), [pending]
        )
        return outcome_of(completed.output)

    async def _head(self, agent: AgentDefinition, session_id: str, env: ProcessEnv) -> SessionHead:
        """The session that the call works for, with what it says, remembers and comes from just now.

        Child sessions of the call are its children, and must not do what it must not.
        """
        head = SessionHead(session_id=session_id, agent=agent.ref, created_at_ms=0)
        session = await self._load_head(env.session_id) if env.session_id else None
        if session is None:
            return head
        return msgspec.structs.replace(head, config=session.config, relation=session.relation)

    def _agent_of(self, record: ProcessRecord, env: ProcessEnv) -> AgentDefinition:
        ref = AgentRef(name=env.agent_name or "", version=env.agent_version or "1")
        agent = self._agents.find(ref)
        if agent is None:
            raise LashError(
                "agent_missing",
                f"Process {record.process_id!r} calls a tool of agent {ref.name!r} (version "
                f"{ref.version!r}), which is not registered here. It waits for a worker that has it.",
                agent=ref.name,
                version=ref.version,
            )
        return agent

    async def _mint(self, run: ProcessRun, place: str) -> AwaitEventKey:
        wait = ToolCompletionWait(tool_call_id=place)
        return await self._effects.await_event_key(run.controller.scope, wait)


def _hooks(agent: AgentDefinition, head: SessionHead) -> ToolHooks | None:
    """Who is asked about the call. What they remember here ends with the process: it is no turn."""
    plugins = agent.plugins
    if not (plugins.asks_before_tools or plugins.at("offers")):
        return None
    return ToolHooks(plugins, PluginStates(head, _unheard), asks_offers=True)


def _input_of(record: ProcessRecord) -> ToolCallInput:
    given = record.registration.input
    if not isinstance(given, ToolCallInput):
        raise StoreError("store_corrupt", f"Process {record.process_id!r} is no call of a tool.")
    return given


def _tool_of(agent: AgentDefinition, given: ToolCallInput) -> Tool | None:
    """The tool that a process calls: by the grant it was registered with, else by its id.

    What its session says about tools counted when the call was registered.
    """
    call = given.call
    if given.grant is not None:
        return GrantedTool(agent, msgspec.convert(given.grant, ToolGrant))
    found = tools_now(agent, UNTOLD)
    named = found.get(call.tool_name)
    if call.tool_id is None or (named is not None and named.id == call.tool_id):
        return named
    # Another tool has the name by now, or the tool is not listed.
    return next((each for each in found.values() if each.id == call.tool_id), None) or unlisted(
        agent, call.tool_id
    )


def _parent(session_id: str, process_id: str) -> RuntimeInvocation:
    invocation = scope_effect(kind="tool_batch", key="tool")
    scope = msgspec.structs.replace(invocation.scope, session_id=session_id, turn_id=process_id)
    return msgspec.structs.replace(invocation, scope=scope)


def _unheard(event: TurnEvent) -> None:
    del event


def outcome_of(output: ToolOutput) -> ProcessAwaitOutput:
    """How a process ended that called a tool; one to one."""
    control = None if output.control is None else msgspec.to_builtins(output.control)
    match output.outcome:
        case ToolSuccess(payload=payload):
            return ProcessSuccess(value=payload, control=control)
        case ToolFailed(payload=failure):
            return ProcessFailure(
                failure_class=failure.failure_class,
                code=failure.code,
                message=failure.message,
                raw=failure.raw,
                control=control,
            )
        case ToolCancelled(payload=cancellation):
            return ProcessCancelled(message=cancellation.message, control=control)
        case _:
            assert_never(output.outcome)
