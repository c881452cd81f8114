"""What the runtime does for the body of one tool attempt: a late answer, a model, agents, processes.

An attempt is the atom: what it asks a model is not recorded on its own, and is booked with it.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TypeAlias

from lash.core.cancel import CancelToken
from lash.core.clock import Clock
from lash.core.durations import Duration, milliseconds
from lash.effects.outcomes import ChildTurn, DirectCall
from lash.effects.trigger_commands import TriggerEmission
from lash.effects.waits.model import AwaitEventKey
from lash.llm.direct import DirectResult, direct_request, output_contract, request_name
from lash.llm.request import LlmScope
from lash.runtime.attachments import SessionAttachmentStore
from lash.runtime.children import Children, ChildRequest
from lash.runtime.direct import ResolveModel, booked, complete, result_of
from lash.sessions.model import TurnRecord
from lash.tools.model import ChildAnswer
from lash.tools.processes import ToolProcesses
from lash.tools.triggers import ToolTriggers
from lash.turn.outcome import Stopped

#: What a body waits inside of that waits for a process, given by its id.
Pause: TypeAlias = Callable[[str], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True)
class CallWork:
    """A tool call, as far as processes are concerned.

    Attributes:
        call_id: The model's call.
        key: The same for every attempt of the call, also after a crash.
        cancel: Tripped when the attempt is given up; what it waits for is then asked to stop too.
        pause: Entered while the body waits for a process.
        book: Books what a child session used with this attempt.
    """

    call_id: str
    key: str
    cancel: CancelToken
    pause: Pause
    book: Callable[[ChildTurn], None]


#: The processes of a call.
BeginProcesses: TypeAlias = Callable[[CallWork], ToolProcesses]


@dataclass(slots=True)
class AttemptServices:
    """Stands behind the context of one attempt.

    Attributes:
        session_id: The session.
        turn_id: The turn.
        attempt_key: The attempt's replay key; names its requests at the provider.
        key: Mints the call's completion key.
        models: Finds the model a body names.
        clock: Fixes deadlines.
        direct_calls: What the body asked models so far.
        child_turns: What turns of child sessions the body waited for so far.
        children: The call's child sessions.
        begin_processes: The call's processes; told how to book what turns among them use.
        begin_triggers: The call's triggers; told where to note what is emitted.
        emissions: What the body has emitted so far.
        minted: The completion key, once the body has asked for it.
        attachments: The session's attachments.
    """

    session_id: str
    turn_id: str | None
    attempt_key: str
    key: Callable[[], Awaitable[AwaitEventKey]]
    models: ResolveModel
    clock: Clock
    children: Callable[[], Children]
    begin_processes: Callable[[Callable[[ChildTurn], None]], ToolProcesses]
    begin_triggers: Callable[[list[TriggerEmission]], ToolTriggers]
    direct_calls: list[DirectCall] = field(default_factory=list)
    child_turns: list[ChildTurn] = field(default_factory=list)
    emissions: list[TriggerEmission] = field(default_factory=list)
    minted: AwaitEventKey | None = None
    attachments: SessionAttachmentStore | None = None
    _asked: int = 0
    _turns: dict[str, int] = field(default_factory=dict)
    _processes: ToolProcesses | None = None
    _triggers: ToolTriggers | None = None

    @property
    def processes(self) -> ToolProcesses:
        """The background processes of the session."""
        if self._processes is None:
            self._processes = self.begin_processes(self.child_turns.append)
        return self._processes

    @property
    def triggers(self) -> ToolTriggers:
        """The events that the body may emit."""
        if self._triggers is None:
            self._triggers = self.begin_triggers(self.emissions)
        return self._triggers

    async def completion_key(self) -> AwaitEventKey:
        """The key by which the outside answers this call."""
        self.minted = await self.key()
        return self.minted

    def deadline_after(self, timeout: Duration) -> int:
        """When a wait that begins now times out."""
        return self.clock.now_ms() + milliseconds(timeout, "The timeout of defer")

    async def child(self, agent: str, prompt: str, *, name: str, output: object) -> ChildAnswer:
        """Run a turn of a child session, and book it once it is committed."""
        contract = output_contract(output)
        turn = self._turns[name] = self._turns.get(name, 0) + 1
        request = ChildRequest(
            name=name, turn=turn, agent=agent, prompt=prompt, output=contract.spec
        )
        record, used = await self.children().run(request)
        self.child_turns.append(used)
        return answer_of(record, None if output is None else contract.read)

    async def direct(
        self, prompt: str, *, output: object, instructions: str, model: object
    ) -> DirectResult[object]:
        """Ask a model once, and book it whatever comes of it."""
        contract = output_contract(output)
        bound = self.models(model)
        self._asked += 1  # before anything is awaited: questions may be asked side by side
        name = f"{self.attempt_key}:direct:{self._asked}"
        request = direct_request(
            prompt,
            model=bound.spec,
            instructions=instructions,
            output=contract.spec,
            scope=LlmScope(
                session_id=self.session_id,
                turn_id=self.turn_id,
                request_id=request_name(self.session_id, "tool", name),
            ),
        )
        outcome = await complete(request, bound, self.clock, "tool")
        self.direct_calls.append(booked(outcome))
        return result_of(contract, outcome)


def answer_of(record: TurnRecord, read: Callable[[str], object] | None) -> ChildAnswer:
    """What a child's turn came to, for the body that waited for it."""
    stopped = isinstance(record.outcome, Stopped)
    return ChildAnswer(
        session_id=record.session_id,
        turn_id=record.turn_id,
        text=record.text,
        outcome=record.outcome,
        value=record.text if read is None or stopped else read(record.text),
    )
