"""The children of a running process: started once, and what is asked of them recorded (process spec 6)."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from lash.core.errors import LashError
from lash.core.json import JsonObject, JsonValue, to_json
from lash.effects import executors
from lash.effects.commands import ProcessEffectCommand
from lash.effects.envelope import RuntimeEffectEnvelope
from lash.effects.outcomes import EffectFailed, EffectOutcome, ProcessOutcome
from lash.effects.process_commands import (
    AwaitProcess,
    CancelProcess,
    ProcessAwaited,
    ProcessCancelled,
    ProcessCommand,
    ProcessEffectOutcome,
    ProcessSignalled,
    ProcessStarted,
    SignalProcess,
    StartProcess,
)
from lash.llm.direct import output_contract
from lash.processes.outcomes import ObservedOutput
from lash.processes.registration import (
    RegisterRequest,
    check_process_id,
    child_provenance,
    differences,
)
from lash.runtime.processes.code import ProcessCode, refusal_of
from lash.runtime.processes.controlling import is_circumstance
from lash.runtime.processes.refusals import value_of
from lash.runtime.processes.turns import turn_request, turn_value
from lash.runtime.recorded_code import envelope, wrong_outcome

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class TurnAnswer(Generic[T]):
    """What an agent's turn came to that a process asked for.

    Attributes:
        session_id: The session it ran in.
        turn_id: The turn.
        text: Its final answer.
        value: The answer read as what was asked for with `output`; else the text.
    """

    session_id: str
    turn_id: str
    text: str
    value: T


class ChildProcess(Generic[R]):
    """A child of a process, as its parent sees it. What is asked of it is recorded."""

    def __init__(
        self, children: "ProcessChildren", process_id: str, read: Callable[[JsonValue], R]
    ) -> None:
        self._children = children
        self._read = read
        self.id = process_id

    def __repr__(self) -> str:
        return f"ChildProcess({self.id!r})"

    def result(self) -> Coroutine[object, object, R]:
        """What the child came to; waits until it ended, and gives its permit back meanwhile.

        Raises:
            ProcessError: It failed (with its own code), or `process_cancelled`, `process_abandoned`,
                `process_no_longer_retained`.
        """
        return self._children.result(self.id, self._read)

    def outcome(self) -> Coroutine[object, object, ObservedOutput]:
        """How the child ended, as a value: success, failure, cancelled, abandoned."""
        return self._children.outcome(self.id)

    def signal(
        self,
        name: str,
        payload: object = None,
        *,
        id: str | None = None,  # noqa: A002  as everywhere
    ) -> Coroutine[object, object, None]:
        """Send the child a signal, once."""
        return self._children.signal(self.id, name, payload, id)

    def cancel(self, reason: str | None = None) -> Coroutine[object, object, None]:
        """Ask the child to stop; wait for its result to learn what came of it."""
        return self._children.cancel(self.id, reason)


class ProcessChildren:
    """What a process does to its children."""

    __slots__ = ("_code", "_run")

    def __init__(self, code: ProcessCode) -> None:
        self._code = code
        self._run = code.run

    # --- starting -------------------------------------------------------------------------------

    def start(
        self,
        name: str,
        process_id: str | None,
        request: Callable[[str], RegisterRequest],
        read: Callable[[JsonValue], R],
    ) -> Coroutine[object, object, ChildProcess[R]]:
        """Start a child, once: under an id of the caller's, else one made of the place of the call."""
        key = self._code.next_key("start")
        given = self._child_id(name, key) if process_id is None else process_id
        child_id = check_process_id(given)
        asked = request(child_id)

        async def start() -> ChildProcess[R]:
            await self._start(key, asked)
            return ChildProcess(self, child_id, read)

        return start()

    def run_turn(
        self, agent: str, prompt: str, session_id: str | None, output: object
    ) -> Coroutine[object, object, TurnAnswer[Any]]:
        """Have an agent work on something, as a child, and wait for its answer."""
        key = self._code.next_key("start")
        child_id = self._child_id("turn", key)
        request = turn_request(
            self._run.agents,
            child_id,
            agent=agent,
            prompt=prompt,
            session_id=session_id,
            output=output,
            provenance=child_provenance(self._run.record),
        )
        ended_key = self._code.next_key("result")
        contract = None if output is None else output_contract(output)

        async def run() -> TurnAnswer[Any]:
            await self._start(key, request)
            ended = turn_value(value_of(child_id, await self._outcome(child_id, ended_key)))
            text = ended.turn.text
            return TurnAnswer(
                session_id=ended.child_session_id,
                turn_id=ended.turn.turn_id,
                text=text,
                value=text if contract is None else contract.read(text),
            )

        return run()

    def _child_id(self, name: str, key: str) -> str:
        """A child's name, by its parent and the place of the call; the same every time."""
        scope = self._run.scope_id.replace("#", "~")
        place = key.replace("start:", "").replace("#", "~")
        return f"{scope}/{name.replace('#', '~')}:{place}"

    async def _start(self, key: str, request: RegisterRequest) -> None:
        registration = request.registration
        asked: JsonObject = {
            "input": msgspec.to_builtins(registration.input),
            "disposition": registration.disposition,
        }

        async def perform(_: RuntimeEffectEnvelope) -> EffectOutcome:
            record = await self._run.register(request)
            stood = differences(record.registration, registration)
            started: JsonObject = {"process_id": record.process_id, "differs": list(stood)}
            return ProcessOutcome(result=ProcessStarted(record=started))

        command = StartProcess(process_id=registration.process_id, registration=asked)
        await self._execute(key, command, perform, ProcessStarted)

    # --- asking ---------------------------------------------------------------------------------

    def outcome(self, process_id: str) -> Coroutine[object, object, ObservedOutput]:
        """How a child ended; waits until it did."""
        return self._outcome(process_id, self._code.next_key("result"))

    def result(
        self, process_id: str, read: Callable[[JsonValue], R]
    ) -> Coroutine[object, object, R]:
        """What a child came to; waits until it ended."""
        key = self._code.next_key("result")

        async def result() -> R:
            return read(value_of(process_id, await self._outcome(process_id, key)))

        return result()

    async def _outcome(self, process_id: str, key: str) -> ObservedOutput:
        async def perform(_: RuntimeEffectEnvelope) -> EffectOutcome:
            ended = await self._run.registry.outcome(process_id)
            await self._run.controller.came(key)
            return ProcessOutcome(result=ProcessAwaited(output=msgspec.to_builtins(ended)))

        command = AwaitProcess(process_id=process_id)
        result = await self._execute(key, command, perform, ProcessAwaited)
        ended: ObservedOutput = msgspec.convert(result.output, ObservedOutput)
        return ended

    def signal(
        self, process_id: str, name: str, payload: object, signal_id: str | None
    ) -> Coroutine[object, object, None]:
        """Send a child a signal, once."""
        key = self._code.next_key("tell")
        chosen = signal_id if signal_id is not None else f"{self._run.scope_id}:{key}"
        told = to_json(payload)

        async def perform(_: RuntimeEffectEnvelope) -> EffectOutcome:
            event = await self._run.registry.signal(process_id, name, told, chosen)
            return ProcessOutcome(result=ProcessSignalled(event={"sequence": event.sequence}))

        async def signal() -> None:
            command = SignalProcess(
                process_id=process_id, signal_name=name, signal_id=chosen, request=told
            )
            await self._execute(key, command, perform, ProcessSignalled)

        return signal()

    def cancel(self, process_id: str, reason: str | None) -> Coroutine[object, object, None]:
        """Ask a child to stop, once."""
        key = self._code.next_key("tell")

        async def perform(_: RuntimeEffectEnvelope) -> EffectOutcome:
            record = await self._run.registry.cancel(process_id, reason)
            return ProcessOutcome(result=ProcessCancelled(record={"status": record.status}))

        async def cancel() -> None:
            command = CancelProcess(process_id=process_id, reason=reason)
            await self._execute(key, command, perform, ProcessCancelled)

        return cancel()

    async def _execute(
        self,
        key: str,
        command: ProcessCommand,
        perform: executors.PerformEnvelope,
        kind: type[T],
    ) -> T:
        async def recorded(envelope: RuntimeEffectEnvelope) -> EffectOutcome:
            try:
                return await perform(envelope)
            except LashError as error:
                if is_circumstance(error):
                    raise
                # It may be caught, so what follows depends on it: it is recorded like any outcome.
                return EffectFailed(code=str(error.code), message=error.message)

        outcome = await self._code.controller().execute(
            envelope(key, ProcessEffectCommand(command=command)), executors.processes(recorded)
        )
        if isinstance(outcome, EffectFailed):
            raise refusal_of(outcome)
        result: ProcessEffectOutcome | None = (
            outcome.result if isinstance(outcome, ProcessOutcome) else None
        )
        if not isinstance(result, kind):
            raise wrong_outcome(outcome)
        return result
