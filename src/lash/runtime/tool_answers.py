"""What a tool call is answered with: by its body, by the outside, or because something went wrong."""

import msgspec

from lash.core.json import DEEPEST, encode, is_deep
from lash.core.text import described
from lash.effects.outcomes import EffectFailed, EffectOutcome
from lash.effects.transitions import MAX_OUTCOME_BYTES, largest_part
from lash.effects.waits.model import (
    Resolution,
    ResolvedCancelled,
    ResolvedErr,
    ResolvedOk,
    ResolvedTimeout,
)
from lash.sessions.model import ToolCallRecord
from lash.turn.tools import (
    CompletedToolCall,
    FailControl,
    ToolCancellation,
    ToolCancelled,
    ToolFailed,
    ToolFailure,
    ToolOutput,
    ToolSuccess,
    failed,
)

#: Room for the outcome's own fields beside the tool's value.
_OUTPUT_LIMIT = MAX_OUTCOME_BYTES - 64 * 1024
_OUTPUT = msgspec.json.Decoder(ToolOutput)


def output_of(resolution: Resolution) -> ToolOutput:
    """What the outside's answer is to the model (tools spec 1.7)."""
    match resolution:
        case ResolvedOk(payload=payload, has_attachments=has_attachments):
            return ToolOutput(outcome=ToolSuccess(payload=payload, has_attachments=has_attachments))
        case ResolvedErr(payload=error):
            failure = ToolFailure(
                failure_class="execution", code=error.code, message=error.message, raw=error.raw
            )
            return ToolOutput(outcome=ToolFailed(payload=failure))
        case ResolvedTimeout():
            message = "Nobody answered before the deadline."
            return failed("timeout", "tool_completion_timeout", message)
        case ResolvedCancelled():
            cancelled = ToolCancellation(message="The wait for an answer was cancelled.")
            return ToolOutput(outcome=ToolCancelled(payload=cancelled))


def call_record(call: CompletedToolCall) -> ToolCallRecord:
    """A completed call as it is reported and kept."""
    return ToolCallRecord(
        call_id=call.call_id,
        tool=call.tool_name,
        args=call.args,
        output=call.output,
        duration_ms=call.duration_ms,
        attempts=call.attempts,
        emitted=call.emitted,
    )


def fitting(name: str, output: ToolOutput) -> ToolOutput:
    """The output as it reads back from the journal, or a failure that says why it cannot be kept."""
    try:
        encoded = encode(output)
        kept = _OUTPUT.decode(encoded)
    except (TypeError, ValueError, RecursionError) as error:
        message = f"{name} answered with something that cannot be stored: {described(error)}"
        return failed("execution", "tool_output_not_json", message)
    if any(is_deep(value) for value in _values(kept)):
        message = f"{name} answered with something that is nested more than {DEEPEST} deep."
        return failed("execution", "tool_output_not_json", message)
    if len(encoded) <= _OUTPUT_LIMIT:
        return kept
    path, part = largest_part(msgspec.to_builtins(kept.outcome)["payload"])
    kind = "returned" if isinstance(kept.outcome, ToolSuccess) else "failed with"
    message = (
        f"{name} {kind} {len(encoded)} bytes, more than the {_OUTPUT_LIMIT} that can be recorded; "
        f"most of it is at {path} ({part} bytes). Return a summary or a reference instead."
    )
    return failed("resource_limit", "tool_output_too_large", message)


def _values(output: ToolOutput) -> tuple[object, ...]:
    """What an output holds of the tool's own, as plain data."""
    if isinstance(output.outcome, ToolSuccess) and not isinstance(output.control, FailControl):
        return (output.outcome.payload,)  # the value of a `Finish` is the same
    return msgspec.to_builtins(output.outcome), msgspec.to_builtins(output.control)


def uncontained(outcome: EffectOutcome) -> ToolOutput:
    """A call is always answered, also when its effect failed around the tool."""
    if isinstance(outcome, EffectFailed):
        return failed("internal", outcome.code, outcome.message)
    return wrong_outcome()


def wrong_outcome() -> ToolOutput:
    """The answer to a call whose record is not that of a tool."""
    return failed(
        "internal", "runtime_effect_wrong_outcome", "The tool's record is of another kind."
    )
