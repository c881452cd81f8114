"""Asking a person before a tool is run: durable, over restarts, many at once.

async def ask(request: ApprovalRequest) -> None:
await send_message(f"{request.tool}({request.args})? Answer by {request.key.token}")

Runtime("agents.db", agents=[…], plugins=[Approvals("refund", ask=ask)])
…
await runtime.completions.resolve(key, True)      # or {"approved": False, "reason": "too much"}
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

from lash.core.durations import Duration
from lash.core.errors import ConfigurationError
from lash.effects.waits.model import (
    AwaitEventKey,
    Resolution,
    ResolvedErr,
    ResolvedOk,
    ResolvedTimeout,
)
from lash.plugins.contexts import ToolCallHook
from lash.plugins.directives import BeforeTool, Deny, Hold
from lash.plugins.plugin import Plugin


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """A call that waits for somebody's word.

    Attributes:
        key: What `runtime.completions.resolve(key, True)` takes, in any process over the same store.
        session_id: The session.
        turn_id: The turn.
        call_id: The model's call.
        tool: The tool.
        args: What it would be run with.
        idempotency_key: The same however often the request is made, also after a crash.
    """

    key: AwaitEventKey = field(repr=False)  # whoever has it may answer
    session_id: str
    turn_id: str
    call_id: str
    tool: str
    args: Mapping[str, Any]
    idempotency_key: str


Ask: TypeAlias = Callable[[ApprovalRequest], Awaitable[object] | object]
Needs: TypeAlias = Callable[[ToolCallHook], bool]


class Approvals(Plugin):
    """Has tools wait for somebody's word before they are run.

    The turn waits, over restarts and for as long as it takes; other calls of the same message go on. A
    yes is `True`, or an object with `"approved": true`; its `reason` is told to the model. Anything else,
    a timeout and a cancelled wait are a no.

    Args:
        tools: Those that wait, by name; or functions that say of a call whether it does.
        ask: Told of each call that waits. It may be told again after a crash, with the same
            `idempotency_key` and the same key.
        timeout: After how long silence is a no; None waits for ever.
        id: Tells several of them apart.

    Raises:
        ConfigurationError: `plugin_invalid`: nothing is to wait.
    """

    def __init__(
        self,
        *tools: str | Needs,
        ask: Ask,
        timeout: Duration | None = None,
        id: str = "approvals",  # noqa: A002  what it is called everywhere
    ) -> None:
        if not tools:
            raise ConfigurationError(
                "plugin_invalid", "Approvals needs the names of the tools that wait, or a function."
            )
        self.id = id
        self._names = frozenset(tool for tool in tools if isinstance(tool, str))
        self._rules = tuple(tool for tool in tools if not isinstance(tool, str))
        self._ask = ask
        self._timeout = timeout

    async def before_tool(self, call: ToolCallHook) -> BeforeTool | None:
        """Hold the call until there is a word, and then let it pass or refuse it."""
        if call.tool not in self._names and not any(rule(call) for rule in self._rules):
            return None
        if call.answer is None:
            return Hold(announce=partial(self._announce, call), timeout=self._timeout)
        return _refusal(call.tool, call.answer)

    def _announce(self, call: ToolCallHook, key: AwaitEventKey) -> Awaitable[object] | object:
        return self._ask(
            ApprovalRequest(
                key=key,
                session_id=call.session.session_id,
                turn_id=call.turn_id,
                call_id=call.call_id,
                tool=call.tool,
                args=call.args,
                idempotency_key=call.idempotency_key,
            )
        )


def _refusal(tool: str, word: Resolution) -> Deny | None:
    match word:
        case ResolvedOk(payload=True):
            return None
        case ResolvedOk(payload=payload) if isinstance(payload, Mapping):
            if payload.get("approved") is True:
                return None
            reason = payload.get("reason")
            return _no(tool, str(reason) if reason else None)
        case ResolvedErr(payload=error):
            return _no(tool, error.message)
        case ResolvedTimeout():
            return _no(tool, "nobody answered in time")
        case _:
            return _no(tool, None)


def _no(tool: str, reason: str | None) -> Deny:
    why = f": {reason}" if reason else ""
    return Deny(f"The call of {tool} was not approved{why}.", code="tool_not_approved")
