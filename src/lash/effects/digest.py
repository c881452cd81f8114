"""The two-part digest of an envelope (ARCHITECTURE D5).

*Identity* is what was asked: kind, tool, arguments, message content, durations. *Surroundings* is
what a deploy changes: instructions, tool catalogue, model parameters. Both are kept small: a
transcript appears as a chain of hashes, so the cost of an effect does not grow with its history.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence

import msgspec

from lash.core.json import Data, JsonObject, JsonValue, encode
from lash.effects.commands import (
    AwaitEventCommand,
    CheckpointCommand,
    DirectCommand,
    DurableStepCommand,
    EffectCommand,
    ExecCodeCommand,
    LlmCallCommand,
    PeekAwaitEventCommand,
    ProcessEffectCommand,
    RuntimeValueCommand,
    SleepCommand,
    SyncExecutionEnvironmentCommand,
    ToolAttemptCommand,
    ToolBatchCommand,
    TriggerEffectCommand,
    command_kind,
)
from lash.llm.request import LlmMessage, LlmRequest

#: Changing what a digest covers, or how, is a new version: old journals then say so.
DIGEST_VERSION = 1
#: 128 bits tell changed requests apart; they need not withstand an attacker.
_DIGEST_BYTES = 16
#: Arguments up to this size stand in the envelope as they are, so that a report can show them.
_SHOWN_BYTES = 512


class EnvelopeDigest(Data):
    """What is compared when an effect is asked for again."""

    kind: str
    identity: str
    surroundings: str
    envelope: JsonObject


class Digester:
    """Digests the envelopes of one scope, remembering what it hashed before.

    What is remembered is held by reference, so it is recognised by being the same object; a value
    that only looks the same is hashed anew and comes to the same digest.
    """

    def __init__(self) -> None:
        self._chain: list[tuple[LlmMessage, str, str]] = []
        self._parts: dict[str, tuple[object, str]] = {}

    def digest(self, command: EffectCommand) -> EnvelopeDigest:
        """The digest of what `command` asks for."""
        identity = self._identity(command)
        surroundings = self._surroundings(command)
        return EnvelopeDigest(
            kind=command_kind(command),
            identity=short_digest(identity),
            surroundings=short_digest(surroundings) if surroundings else "",
            envelope={"identity": identity, "surroundings": surroundings}
            if surroundings
            else {"identity": identity},
        )

    def _identity(self, command: EffectCommand) -> JsonObject:  # noqa: C901, PLR0911  a case per kind
        match command:
            case LlmCallCommand(request=request):
                return self._transcript(request)
            case DirectCommand(request=request, usage_source=source):
                asked = [short_digest(message) for message in request.messages]
                output = shown(msgspec.to_builtins(request.output))
                return {"messages": asked, "output": output, "usage_source": source}
            case ToolAttemptCommand(call=call, execution_grant=grant):
                args = {name: shown(value) for name, value in call.args.items()}
                asked_for = {"tool_id": call.tool_id, "call_id": call.call_id, "args": args}
                # What is granted is part of what was asked; where nothing is, nothing is said of it.
                return asked_for if grant is None else {**asked_for, "grant": shown_parts(grant)}
            case ToolBatchCommand(batch_id=batch_id, calls=calls):
                return {"batch_id": batch_id, "calls": [call.call_id for call in calls]}
            case DurableStepCommand(step_id=step_id, input=given):
                return {"step_id": step_id, "input": shown_parts(given)}
            case ExecCodeCommand(language=language, code=code):
                return {"language": language, "code": shown(code)}
            case CheckpointCommand(checkpoint=checkpoint):
                return {"checkpoint": checkpoint}
            case SyncExecutionEnvironmentCommand(update_machine_config=update):
                return {"update_machine_config": update}
            case SleepCommand(duration_ms=duration_ms):
                return {"duration_ms": duration_ms}
            case AwaitEventCommand(key=key) | PeekAwaitEventCommand(key=key):
                return {"key_id": key.key_id}  # not the signature, which is for whoever resolves
            case RuntimeValueCommand(operation=operation):
                return {"operation": operation}
            case TriggerEffectCommand(command=inner) | ProcessEffectCommand(command=inner):
                return {"command": shown_parts(msgspec.to_builtins(inner))}

    def _surroundings(self, command: EffectCommand) -> JsonObject:
        if not isinstance(command, LlmCallCommand | DirectCommand):
            return {}
        request = command.request
        return {
            "instructions": self._part("instructions", request.instructions),
            "model": self._part("model", request.model),
            "tool_choice": request.tool_choice,
            "tools": self._part("tools", request.tools),
        }

    def _transcript(self, request: LlmRequest) -> JsonObject:
        """The transcript as committed history, a chain over what the turn added, and its last links.

        The links since the last answer are what a request adds to the one before it. A request that
        differs from its record therefore differs there, unless its history does.
        """
        added = request.messages[request.history.count :]
        links = self._links(added)
        return {
            "history": request.history.digest,
            "added": len(added),
            "chain": links[-1][2] if links else "",
            "last": [own for _, own, _ in links[_last_answer(added) :]],
        }

    def _links(self, messages: Sequence[LlmMessage]) -> Sequence[tuple[LlmMessage, str, str]]:
        chain = self._chain
        known = 0
        while known < min(len(chain), len(messages)) and chain[known][0] is messages[known]:
            known += 1
        del chain[known:]
        for message in messages[known:]:
            own = short_digest(message)
            above = chain[-1][2] if chain else ""
            chain.append((message, own, short_digest([above, own])))
        return chain

    def _part(self, name: str, value: object) -> str:
        known = self._parts.get(name)
        if known is None or known[0] is not value:
            known = (value, short_digest(value))
            self._parts[name] = known
        return known[1]


def surroundings_of(request: LlmRequest) -> Mapping[str, object]:
    """What a deploy changes about a request: what its surroundings digest, part by part."""
    return {
        "instructions": request.instructions,
        "model": request.model,
        "tool_choice": request.tool_choice,
        "tools": request.tools,
    }


def shown(value: JsonValue) -> JsonValue:
    """A value as an envelope holds it: itself while it is small, else its size and hash."""
    encoded = encode(value)
    if len(encoded) <= _SHOWN_BYTES:
        return value
    return {"bytes": len(encoded), "digest": short_digest(value)}


def shown_parts(value: JsonValue) -> JsonValue:
    """A value with its parts shown one by one, so that a report can name the part that differs."""
    if isinstance(value, Mapping):
        return {name: shown(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [shown(item) for item in value]
    return shown(value)


def _last_answer(messages: Sequence[LlmMessage]) -> int:
    for index in range(len(messages) - 1, -1, -1):
        if messages[index].role == "assistant":
            return index
    return 0


def short_digest(value: JsonValue | object) -> str:
    """A short, versioned digest of one of our own values."""
    hashed = hashlib.sha256(encode(value)).digest()[:_DIGEST_BYTES]
    text = base64.urlsafe_b64encode(hashed).decode().rstrip("=")
    return f"{DIGEST_VERSION}:{text}"
