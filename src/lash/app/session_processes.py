"""The processes of one session, as an application handles them: `session.processes`."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal, TypeVar, overload

from lash.app.process_handle import ProcessHandle
from lash.core.json import JsonObject, to_json
from lash.processes.listing import StatusFilter
from lash.processes.model import ProcessRecord
from lash.processes.registration import RegisterRequest, check_process_id
from lash.runtime.checks import check_id
from lash.runtime.engine import Engine
from lash.runtime.processes.function import ProcessFunction
from lash.runtime.processes.session_side import ProcessAccess, of_session
from lash.sessions.model import AgentRef
from lash.tools.manifest import ToolGrant

R = TypeVar("R")


class SessionProcesses:
    """Background work of one session. `runtime.processes` has all of a runtime's.

    What is started here is in the session's name: the session is accountable for it, sees it and is
    woken by it. A process that the session cannot see and one that does not exist are the same here:
    `process_not_visible`.

    Args:
        engine: Gives the drivers, while the runtime is open.
        session_id: The session.
        agent: Finds out whose session it is.
        ids: Makes an id for a process that was given none.
    """

    def __init__(
        self,
        engine: Callable[[], Engine],
        session_id: str,
        agent: Callable[[], Awaitable[AgentRef]],
        ids: Callable[[str], str],
    ) -> None:
        self._engine = engine
        self._session_id = session_id
        self._agent = agent
        self._ids = ids

    def __repr__(self) -> str:
        return f"SessionProcesses({self._session_id!r})"

    # --- starting -------------------------------------------------------------------------------

    async def start(
        self,
        function: ProcessFunction[..., R],
        /,
        *args: object,
        id: str | None = None,  # noqa: A002  what the face calls it everywhere
        label: str | None = None,
        **keywords: object,
    ) -> ProcessHandle[R]:
        """Start a process in the session's name; see `runtime.processes.start`."""
        access = self._access
        access.host.functions.check(function)
        request = access.of_function(function, self._id(id), args, keywords, label)
        handle: ProcessHandle[R] = ProcessHandle(
            self._engine().processes, await self._started(access, request), function.read_result
        )
        return handle

    async def start_tool(
        self,
        tool: str | ToolGrant,
        args: JsonObject,
        *,
        id: str | None = None,  # noqa: A002  as above
    ) -> ProcessHandle[Any]:
        """Call a tool that the session has in the background, or one that is in no catalogue by a grant.

        Raises:
            ConfigurationError: `agent_unknown`, `agent_ambiguous`. ConflictError: `process_conflict`.
            LashError: `process_tool_missing`, `invalid_tool_args`, `value_not_json`; of a grant as
                `runtime.processes.start_tool`.
        """
        told, ref = to_json(args), await self._agent()
        access, agents = self._access, self._engine().agents
        given = told if isinstance(told, dict) else {}
        agent = agents.find(ref) or agents.newest(ref.name)
        request = await access.of_tool(agent, self._id(id), tool, given)
        return ProcessHandle(self._engine().processes, await self._started(access, request))

    async def start_turn(
        self,
        agent: str,
        prompt: str,
        *,
        id: str | None = None,  # noqa: A002  as above
        output: object = None,
    ) -> ProcessHandle[Any]:
        """Have an agent work on something in the background, in a session of its own.

        Raises:
            ConfigurationError: `agent_unknown`, `direct_request_invalid`.
            ConflictError: `process_conflict`.
        """
        access = self._access
        request = access.of_turn(self._id(id), agent=agent, prompt=prompt, output=output)
        return ProcessHandle(self._engine().processes, await self._started(access, request))

    # --- looking --------------------------------------------------------------------------------

    async def list(
        self,
        *,
        status: StatusFilter | Literal["all"] = "live",
        after: str = "",
        limit: int = 1000,
    ) -> Sequence[ProcessRecord]:
        """What the session sees, by id, those that are live by default.

        Args:
            status: A status, `live`, `retired` or `all`.
            after: Ids behind this one.
            limit: At most so many.
        """
        return await self._access.list(status, after=after, limit=limit)

    async def get(self, process_id: str) -> ProcessRecord:
        """A process as it stands.

        Raises:
            LashError: `process_not_visible`.
        """
        return await self._access.visible(process_id)

    @overload
    async def handle(self, process_id: str) -> ProcessHandle[Any]: ...

    @overload
    async def handle(
        self, process_id: str, function: ProcessFunction[..., R]
    ) -> ProcessHandle[R]: ...

    async def handle(
        self, process_id: str, function: ProcessFunction[..., Any] | None = None
    ) -> ProcessHandle[Any]:
        """A handle on a process that the session sees now; with its function, results are read as typed.

        Raises:
            LashError: `process_not_visible`.
        """
        await self._access.visible(process_id)
        read = function.read_result if function else None
        return ProcessHandle(self._engine().processes, process_id, read)

    # --- handing over ---------------------------------------------------------------------------

    async def transfer(self, process_ids: Sequence[str], to_session: str) -> None:
        """Hand processes to another session, all or none: from then on it sees them, and this one does not.

        Who is accountable for them, and who is woken by them, stays; see
        `runtime.processes.wake_session`.

        Raises:
            LashError: `process_not_visible`, naming the first that the session does not see; nothing
                was handed over. `session_id_invalid`.
        """
        check_id(to_session, "session_id_invalid", "A session id")
        if isinstance(process_ids, str):
            process_ids = (process_ids,)  # one of them, and not its letters
        await self._access.transfer(process_ids, to_session, by="host")

    # --- small things ---------------------------------------------------------------------------

    @property
    def _access(self) -> ProcessAccess:
        return ProcessAccess(self._engine().processes, of_session(self._session_id))

    async def _started(self, access: ProcessAccess, request: RegisterRequest) -> str:
        return (await access.start(request)).process_id

    def _id(self, given: object) -> str:
        return self._ids("process") if given is None else check_process_id(given)
