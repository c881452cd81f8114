"""What a tool's body may do with background processes: the narrow contract behind `ctx.processes`."""

from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from lash.core.durations import Duration
from lash.core.json import Data, JsonObject, JsonValue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lash.tools.manifest import ToolGrant
    from lash.tools.model import ChildAnswer


class ProcessRef(Data, tag_field="__handle__", tag="process"):
    """A process as a value, which a tool may return and a model may hand on.

    As JSON it is `{"__handle__": "process", "id": …}`. Whoever holds it may do no more than before:
    what counts is what the session sees.
    """

    id: str


#: A process, by its value or its id.
AnyProcess: TypeAlias = ProcessRef | str


class ProcessView(Data):
    """A process as a tool sees it.

    Attributes:
        id: The process.
        status: `running`, `waiting`, `completed`, `failed`, `cancelled` or `abandoned`.
        kind: What sort of process it is: `python`, `tool`, `session_turn`, `external`.
        label: What it is shown as.
        created_at_ms: When it was started, in milliseconds since the epoch.
        stopping: It was asked to stop, and has not ended yet.
        parked: It does not go on by itself.
    """

    id: str
    status: str
    kind: str
    label: str | None
    created_at_ms: int
    stopping: bool = False
    parked: bool = False


class ProcessNote(Data):
    """An event of a process, as a tool sees it.

    Attributes:
        sequence: Its place in the process's log.
        event_type: What sort of event.
        payload: What it says.
        occurred_at_ms: When, in milliseconds since the epoch.
    """

    sequence: int
    event_type: str
    payload: JsonValue
    occurred_at_ms: int


class NamedProcess(Protocol):
    """A process function, as `@lash.process` makes it."""

    @property
    def name(self) -> str:
        """What its processes are known by."""
        ...

    @property
    def version(self) -> str:
        """Which version it is."""
        ...


class ToolProcesses(Protocol):
    """The background processes of a tool's session.

    What a call starts is named by the call and by how many it has started before, so an attempt that
    is run again finds what the first one started instead of starting it twice: ask for things in the
    same order each time, or give them an `id`. A started process outlives the call and its turn; the
    session sees it, is woken by it, and may ask for it again in any later turn.

    A process that the session cannot see and one that does not exist are the same to it:
    `process_not_visible`.
    """

    async def start(
        self,
        process: NamedProcess | str,
        /,
        *args: object,
        id: str | None = None,  # noqa: A002  what the face calls it everywhere
        **keywords: object,
    ) -> ProcessRef:
        """Start a process, durably: a function of the runtime's `processes`, or its name.

        Args:
            process: What runs.
            *args: Its arguments, behind the context.
            id: Your own name for it: the same id with the same arguments is the same process.
            **keywords: Its arguments, by name.

        Raises:
            ConfigurationError: `process_unregistered`. ConflictError: `process_conflict`.
            LashError: `process_arguments_invalid`, `value_not_json`, `process_id_invalid`,
                `process_no_longer_retained`.
        """
        ...

    async def start_tool(
        self,
        tool: "str | ToolGrant",
        args: JsonObject,
        *,
        id: str | None = None,  # noqa: A002  as above
        by_model: bool = False,
    ) -> ProcessRef:
        """Call a tool that the session has in the background.

        Args:
            tool: The tool, by name; or a grant, for one that is in no catalogue.
            args: What it is called with.
            id: Your own name for the process.
            by_model: The model has named the tool, so it must be one that models may call.

        Raises:
            ConflictError: `process_conflict`.
            LashError: `process_tool_missing`, `invalid_tool_args`, `process_id_invalid`.
        """
        ...

    async def start_turn(
        self,
        agent: str,
        prompt: str,
        *,
        id: str | None = None,  # noqa: A002  as above
        output: object = None,
    ) -> ProcessRef:
        """Have an agent work on something in the background, in a session of its own.

        What it uses is booked with that session. `run_turn` waits for the answer and books it here.

        Raises:
            ConfigurationError: `agent_unknown`. ConflictError: `process_conflict`.
            LashError: `child_session_too_deep`.
        """
        ...

    async def run_turn(
        self,
        agent: str,
        prompt: str,
        *,
        id: str | None = None,  # noqa: A002  as above
        output: object = None,
        max_depth: int | None = None,
    ) -> "ChildAnswer":
        """Have an agent work on something as a process, and wait for its answer within this attempt.

        What the agent used is booked with this turn, once, whatever came of it.

        Args:
            agent: The agent, by name.
            prompt: What it is to do.
            id: Your own name for the process.
            output: What the answer is to be, as for `Session.run`.
            max_depth: How many sessions deep agents may hand work on this way; the runtime's own limit
                holds in any case.

        Raises:
            ProcessError: `process_session_turn_failed`: the turn was stopped, or failed;
                `process_cancelled`, `process_abandoned`.
            ConfigurationError: `agent_unknown`. LashError: `child_session_too_deep`.
        """
        ...

    async def result(
        self,
        process: AnyProcess,
        *,
        timeout: Duration | None = None,  # noqa: ASYNC109  part of the face
    ) -> JsonValue:
        """What a process came to; waits until it ended.

        Waiting is a part of the attempt: it is not recorded on its own. When the turn is asked to stop
        meanwhile, so is the process, and it is waited for as long as the tool is given.

        Args:
            process: The process.
            timeout: Seconds or a `timedelta` to wait at most; the process goes on.

        Raises:
            ProcessError: It failed (with its own code), or `process_cancelled`, `process_abandoned`,
                `process_no_longer_retained`; `process_result_timeout`.
            LashError: `process_not_visible`, `duration_invalid`.
        """
        ...

    async def wait(
        self,
        process: AnyProcess,
        *,
        timeout: Duration | None = None,  # noqa: ASYNC109  part of the face
    ) -> ProcessView:
        """A process once it has ended, whatever it came to; else as `result`."""
        ...

    async def get(self, process: AnyProcess) -> ProcessView:
        """A process as it stands.

        Raises:
            LashError: `process_not_visible`.
        """
        ...

    async def events(
        self, process: AnyProcess, event_type: str, *, after: int = 0
    ) -> "Sequence[ProcessNote]":
        """What a process has noted so far of one type, behind a place in its log; a thousand at most.

        Raises:
            LashError: `process_not_visible`.
        """
        ...

    async def list(self, status: Literal["live", "all"] = "live") -> "Sequence[ProcessView]":
        """What the session sees, by id; a thousand at most."""
        ...

    async def signal(
        self,
        process: AnyProcess,
        name: str,
        payload: object = None,
        *,
        id: str | None = None,  # noqa: A002  as above
    ) -> None:
        """Send a process a signal, once, however often the attempt is run.

        Raises:
            LashError: `process_not_visible`, `process_already_terminal`,
                `process_signal_name_invalid`, `process_signal_undeclared`, `process_event_invalid`,
                `value_not_json`. ConflictError: `process_event_conflict`.
        """
        ...

    async def cancel(self, process: AnyProcess, reason: str | None = None) -> ProcessView:
        """Ask a process to stop; as a rule it still runs when this returns.

        Raises:
            LashError: `process_not_visible`.
        """
        ...

    async def transfer(self, processes: "Sequence[AnyProcess]", to_session: str) -> None:
        """Hand processes to another session, all or none: from then on it sees them, and this one does not.

        Who is accountable for them and who is woken by them stays.

        Raises:
            LashError: `process_not_visible`, `session_id_invalid`.
        """
        ...
