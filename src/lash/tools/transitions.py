"""When a tool is run again, as a pure decision (tools spec 1.8)."""

import msgspec

from lash.core.json import Data
from lash.tools.model import ToolRetry
from lash.turn.tools import RetriesExhausted, SafeToRetry, ToolFailed, ToolOutput


class RetryTool(Data):
    """Run it again after a wait."""

    delay_ms: int


class ToolDone(Data):
    """The output stands; a failure that ran out of attempts says so."""

    output: ToolOutput


def after_attempt(
    output: ToolOutput, policy: ToolRetry | None, attempt: int
) -> RetryTool | ToolDone:
    """What follows attempt number `attempt` (from 1).

    Only a failure that declares itself safe is repeated, and only under a policy.
    """
    if not isinstance(output.outcome, ToolFailed) or policy is None:
        return ToolDone(output=output)
    failure = output.outcome.payload
    if not isinstance(failure.retry, SafeToRetry):
        return ToolDone(output=output)
    delay = policy.delay_ms(attempt, failure.retry.after_ms)
    if delay is None:
        status = RetriesExhausted(attempts=attempt)
        exhausted = msgspec.structs.replace(failure, retry=status)
        return ToolDone(output=ToolOutput(outcome=ToolFailed(payload=exhausted)))
    return RetryTool(delay_ms=delay)
