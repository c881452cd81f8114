"""Plugins, as an application asks them: by the names of their operations."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from lash.app.queued import QueuedInput
from lash.app.stopping import CancelReceipt
from lash.core.errors import LashError
from lash.core.json import JsonObject, JsonValue, to_json
from lash.plugins.operations import Operation
from lash.plugins.registration import PluginSet
from lash.runtime.engine import Engine
from lash.runtime.plugins.operating import queried
from lash.sessions.ingress import InputAlreadyClaimed, InputAlreadyCompleted
from lash.sessions.model import AgentRef, RunOperation
from lash.turn.outcome import Stopped

#: Puts a command into a session's queue, under an idempotency key if there is one.
QueueCommand: TypeAlias = Callable[[RunOperation, str | None], Awaitable[QueuedInput]]

#: Asks a turn to stop.
Stop: TypeAlias = Callable[[str | None], Awaitable[CancelReceipt]]


class SessionPlugin:
    """One plugin of a session's agent. Got from `Session.plugin`."""

    def __init__(
        self,
        plugin_id: str,
        session_id: str,
        engine: Callable[[], Engine],
        *,
        arriving: Callable[[], Awaitable[AgentRef]],
        queue: QueueCommand,
        stop: Stop,
    ) -> None:
        self._engine = engine
        self._arriving = arriving
        self._queue = queue
        self._stop = stop
        self.id = plugin_id
        self.session_id = session_id

    def __repr__(self) -> str:
        return f"SessionPlugin({self.id!r}, session={self.session_id!r})"

    async def operations(self) -> Sequence[Operation]:
        """What may be asked of it, by name.

        Raises:
            LashError: `plugin_unknown`, `agent_missing`.
        """
        known = (await self._plugins()).operations(self.id)
        return [known[name] for name in sorted(known)]

    async def call(
        self, name: str, args: object = None, *, source_key: str | None = None
    ) -> JsonValue:
        """Ask for an operation and wait for its answer.

        A query answers at once, from what was committed. A command or a task is accepted durably, and
        done once what the session accepted before is done; it is finished whatever becomes of this call.

        Args:
            name: The operation.
            args: Its arguments by name, as JSON.
            source_key: Your own idempotency key, for commands and tasks: used again with the same
                operation and arguments, it gives the answer of the first time.

        Raises:
            LashError: `plugin_unknown`, `plugin_operation_unknown`, `plugin_operation_args_invalid`,
                `value_not_json`, `session_unknown`: nothing was done. `plugin_failed`, or the plugin's
                own: nothing was changed. `cancelled`: it was stopped.
        """
        plugins = await self._plugins()
        operation = plugins.operation(self.id, name)
        if operation.kind != "query":
            return await (await self._started(operation, args, source_key)).result()
        head = await self._engine().store.load_head(self.session_id)
        if head is None and operation.session == "required":
            raise LashError(
                "session_unknown",
                f"There is no session {self.session_id!r}, so plugin {self.id!r} knows nothing of it.",
                session_id=self.session_id,
            )
        return await queried(plugins.plugin(self.id), operation, _args(args), head)

    async def start(
        self, name: str, args: object = None, *, source_key: str | None = None
    ) -> "StartedOperation":
        """Have a command or a task accepted durably, and do not wait for it.

        Raises:
            LashError: As `call`; `plugin_operation_unknown` also where it is a query.
        """
        operation = (await self._plugins()).operation(self.id, name)
        if operation.kind == "query":
            raise LashError(
                "plugin_operation_unknown",
                f"{name!r} of plugin {self.id!r} is a query, which answers at once: `call` it.",
                plugin_id=self.id,
                operation=name,
            )
        return await self._started(operation, args, source_key)

    async def _started(
        self, operation: Operation, args: object, source_key: str | None
    ) -> "StartedOperation":
        given = _args(args)
        operation.read(given)  # also where it is done later, by another process
        command = RunOperation(plugin_id=self.id, name=operation.name, args=given)
        queued = await self._queue(command, source_key)
        return StartedOperation(queued, self._stop)

    async def _plugins(self) -> PluginSet:
        engine, ref = self._engine(), await self._arriving()
        agent = engine.agents.find(ref)
        if agent is None:
            raise LashError(
                "agent_missing",
                f"The plugins of agent {ref.name!r} (version {ref.version!r}) are not here; ask them in a "
                "runtime that has it.",
                agent=ref.name,
                version=ref.version,
            )
        return agent.plugins


class RuntimePlugin:
    """One plugin of a runtime, outside any session. Got from `Runtime.plugin`."""

    def __init__(self, plugins: PluginSet, plugin_id: str) -> None:
        self._plugins = plugins
        self._plugin = plugins.plugin(plugin_id)
        self.id = plugin_id

    def __repr__(self) -> str:
        return f"RuntimePlugin({self.id!r})"

    async def call(self, name: str, args: object = None) -> JsonValue:
        """Ask for a query that needs no session.

        Raises:
            LashError: `plugin_operation_unknown`, `plugin_operation_args_invalid`,
                `plugin_operation_without_session`, `value_not_json`, `plugin_failed`, or the plugin's own.
        """
        operation = self._plugins.operation(self.id, name)
        return await queried(self._plugin, operation, _args(args), None)


class StartedOperation:
    """A command or a task of a plugin that was accepted. It is durable, whatever becomes of this.

    Attributes:
        input_id: Its place in the session's queue.
    """

    def __init__(self, queued: QueuedInput, stop: Stop) -> None:
        self._queued = queued
        self._stop = stop
        self.input_id = queued.input_id

    def __repr__(self) -> str:
        return f"StartedOperation({self.input_id!r})"

    async def result(self) -> JsonValue:
        """What it answers; waits for it. Raises as `SessionPlugin.call`."""
        turn = await self._queued.result()
        failed = turn.issues[0] if isinstance(turn.outcome, Stopped) and turn.issues else None
        if failed is not None and failed.code is not None:
            raise LashError(failed.code, failed.message, turn_id=turn.turn_id)
        return turn.raise_for_outcome().value

    async def cancel(self) -> bool:
        """Ask it to stop: it changes nothing then. False where it had come to its end before."""
        outcome = await self._queued.cancel()
        if isinstance(outcome, InputAlreadyCompleted):
            return False
        if not isinstance(outcome, InputAlreadyClaimed):
            return True
        receipt = await self._stop(outcome.item.turn_id)
        return receipt.outcome in ("requested", "already_requested")


def _args(args: object) -> JsonObject:
    given = to_json({} if args is None else args)
    if not isinstance(given, dict):
        raise LashError(
            "plugin_operation_args_invalid",
            f"The arguments of an operation are given by name, as an object, not {given!r}.",
        )
    return given
