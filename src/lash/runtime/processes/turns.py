"""The engine of turns: an agent works on something in a session, as a process (process spec 5.7).

The turn's id is the process's, so a run that is begun again finds the turn where it is, finished or not.
Whoever drives the session drives it; this only waits, and gives its permit back meanwhile.
"""

import msgspec

from lash.core.cancel import Cancellation
from lash.core.errors import LashError, StoreError
from lash.core.json import JsonValue
from lash.llm.direct import output_contract
from lash.processes.model import (
    ProcessIdentity,
    ProcessProvenance,
    ProcessRecord,
    ProcessRegistration,
    SessionTurnInput,
    TurnWaitKind,
)
from lash.processes.outcomes import (
    ProcessAwaitOutput,
    ProcessCancelled,
    ProcessFailure,
    ProcessSuccess,
)
from lash.processes.registration import RegisterRequest
from lash.runtime.agents import AgentRegistry
from lash.runtime.checks import check_id, check_prompt
from lash.runtime.children import ChildrenHost, record_of_turn
from lash.runtime.processes.run import ProcessRun
from lash.runtime.refusals import missing_agent
from lash.sessions.model import (
    AgentRef,
    RootSession,
    SessionRelation,
    TextItem,
    TurnInput,
    TurnRecord,
)
from lash.sessions.stopping import CancelRequest
from lash.turn.outcome import Cancelled, Stopped, TurnOutcome

SESSION_TURN = "session_turn"


def turn_request(
    agents: AgentRegistry,
    process_id: str,
    *,
    agent: str,
    prompt: str,
    session_id: str | None,
    output: object,
    provenance: ProcessProvenance,
    relation: SessionRelation = RootSession(),  # noqa: B008  a value
    wake_session_id: str | None = None,
    observers: tuple[str, ...] = (),
) -> RegisterRequest:
    """What registers a turn of an agent as a process.

    Raises:
        ConfigurationError: `agent_unknown`, `direct_request_invalid`.
        LashError: `turn_input_empty`, `turn_input_invalid`, `session_id_invalid`.
    """
    if session_id is not None:
        check_id(session_id, "session_id_invalid", "A session id")
    ref = agents.newest(agent).ref
    spec = output_contract(output).spec
    turn_input = TurnInput(items=(TextItem(text=check_prompt(prompt)),), output=spec)
    return RegisterRequest(
        registration=ProcessRegistration(
            process_id=process_id,
            input=SessionTurnInput(
                session_id=session_id if session_id is not None else f"{process_id}:session",
                agent_name=ref.name,
                agent_version=ref.version,
                turn_input=msgspec.to_builtins(turn_input),
                relation=msgspec.to_builtins(relation),
            ),
            disposition="rerunnable",
            identity=ProcessIdentity(
                kind=SESSION_TURN, label=ref.name, definition=ref.name, version=ref.version
            ),
            provenance=provenance,
            wake_session_id=wake_session_id,
        ),
        observers=observers,
    )


class EndedTurn(msgspec.Struct):
    """A turn as the end of its process tells of it."""

    turn_id: str
    outcome: TurnOutcome
    text: str = ""


class TurnValue(msgspec.Struct):
    """What a process came to that stood for a turn."""

    child_session_id: str
    turn: EndedTurn


def turn_value(value: JsonValue) -> TurnValue:
    """Read what a process came to that stood for a turn."""
    return msgspec.convert(value, TurnValue)


class SessionTurnEngine:
    """Has agents work in sessions of their own."""

    kind = SESSION_TURN
    ordered = False

    def __init__(self, host: ChildrenHost) -> None:
        self._host = host

    def refusal(self, record: ProcessRecord) -> LashError | None:
        """Why a turn cannot be run here: its agent is not registered."""
        ref = _agent_of(_input_of(record))
        return (
            missing_agent(ref, self._host.agents) if self._host.agents.find(ref) is None else None
        )

    async def run(self, run: ProcessRun) -> ProcessAwaitOutput:
        """Run the turn, or find it where it is."""
        asked = _input_of(run.record)
        turn_id = run.record.process_id

        def stop(why: Cancellation) -> None:
            self._host.cancel_soon(
                CancelRequest(session_id=asked.session_id, turn_id=turn_id, cancellation=why)
            )

        unsubscribe = run.controller.cancel.on_cancel(stop)
        kind = TurnWaitKind(session_id=asked.session_id, turn_id=turn_id)
        try:
            async with run.waiting(kind):
                record = await record_of_turn(
                    self._host,
                    run.clock,
                    asked.session_id,
                    _agent_of(asked),
                    msgspec.convert(asked.turn_input, TurnInput),
                    turn_id=turn_id,
                    relation=msgspec.convert(asked.relation, SessionRelation),
                )
        finally:
            unsubscribe()
        return _outcome(run.record.process_id, record)


def _input_of(record: ProcessRecord) -> SessionTurnInput:
    given = record.registration.input
    if not isinstance(given, SessionTurnInput):
        raise StoreError("store_corrupt", f"Process {record.process_id!r} is no turn of a session.")
    return given


def _agent_of(asked: SessionTurnInput) -> AgentRef:
    return AgentRef(name=asked.agent_name, version=asked.agent_version)


def _outcome(process_id: str, record: TurnRecord) -> ProcessAwaitOutput:
    outcome = record.outcome
    if not isinstance(outcome, Stopped):
        turn: JsonValue = {
            "turn_id": record.turn_id,
            "text": record.text,
            "outcome": msgspec.to_builtins(outcome),
            "usage": msgspec.to_builtins(record.usage),
        }
        return ProcessSuccess(
            value={"process_id": process_id, "child_session_id": record.session_id, "turn": turn}
        )
    if isinstance(outcome.reason, Cancelled):
        return ProcessCancelled(message=outcome.reason.reason or "the turn was asked to stop")
    reason = str(outcome.reason.__struct_config__.tag)
    details = "; ".join(issue.message for issue in record.issues[:3])
    return ProcessFailure(
        failure_class="execution",
        code="process_session_turn_failed",
        message=f"The turn {record.turn_id!r} of session {record.session_id!r} was stopped: {reason}"
        + (f" ({details})" if details else ""),
        raw={"reason": reason, "session_id": record.session_id, "turn_id": record.turn_id},
    )
