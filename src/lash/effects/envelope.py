"""The envelope: an invocation and its command, checked when it is made (effects spec 2.2)."""

from lash.core.causality import EffectSubject, RuntimeInvocation
from lash.core.errors import LashError
from lash.core.json import Data
from lash.effects.commands import (
    DurableStepCommand,
    EffectCommand,
    ToolAttemptCommand,
    ToolBatchCommand,
    command_kind,
)


class RuntimeEffectEnvelope(Data):
    """One effect, ready to be executed or replayed."""

    invocation: RuntimeInvocation
    command: EffectCommand

    def __post_init__(self) -> None:
        """Refuse an envelope that could not be journaled.

        Raises:
            LashError: `runtime_effect_*`, see the catalogue.
        """
        subject = self.invocation.subject
        if not isinstance(subject, EffectSubject) or not subject.effect_id.strip():
            raise _malformed("invocation_subject", "its subject is not an effect with an id")
        kind = command_kind(self.command)
        if subject.kind != kind:
            raise _malformed("invocation_kind", f"it announces {subject.kind} but carries {kind}")
        if self.invocation.replay is None or not self.invocation.replay.key:
            raise _malformed("replay_required", "it has no replay key")
        _check_command(self.command)

    @property
    def replay_key(self) -> str:
        """The key under which the outcome is recorded in its scope."""
        replay = self.invocation.replay
        return replay.key if replay else ""


def _check_command(command: EffectCommand) -> None:
    if isinstance(command, ToolAttemptCommand):
        if not command.call.call_id.strip():
            raise _malformed("tool_attempt_call_id", "its call id is blank")
        if not 1 <= command.attempt <= command.max_attempts:
            raise _malformed(
                "tool_attempt_index",
                f"attempt {command.attempt} is outside 1..{command.max_attempts}",
            )
    elif isinstance(command, DurableStepCommand):
        if not command.step_id.strip():
            raise _malformed("durable_step_id", "its step has a blank name")
    elif isinstance(command, ToolBatchCommand):
        if not command.batch_id.strip():
            raise _malformed("tool_batch_id", "its batch id is blank")
        if not command.calls:
            raise _malformed("tool_batch_empty", "it holds no calls")
        if any(not call.call_id.strip() for call in command.calls):
            raise _malformed("tool_batch_call_id", "one of its calls has a blank id")


def _malformed(what: str, why: str) -> LashError:
    return LashError(f"runtime_effect_{what}", f"This effect envelope cannot be used: {why}.")
