"""The two-part digest of an envelope (ARCHITECTURE D5).

*Identity* is what was asked: kind, tool, arguments, message content, durations. *Surroundings* is
what a deploy changes: instructions, tool catalogue, model parameters. Both are kept small: a
transcript appears as a chain of hashes, so the cost of an effect does not grow with its history.
"""

import base64
import hashlib
from collections.abc import Sequence

from lash.core.json import Data, JsonObject, JsonValue, encode
from lash.effects.commands import (
    CheckpointCommand,
    EffectCommand,
    LlmCallCommand,
    SleepCommand,
    SyncExecutionEnvironmentCommand,
    ToolAttemptCommand,
    ToolBatchCommand,
    command_kind,
)
from lash.llm.request import LlmMessage, LlmRequest

#: Changing what a digest covers, or how, is a new version: old journals then say so.
DIGEST_VERSION = 1
#: 128 bits tell changed requests apart; they need not withstand an attacker.
_DIGEST_BYTES = 16


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
        self._parts: dict[int, tuple[object, str]] = {}

    def digest(self, command: EffectCommand) -> EnvelopeDigest:
        """The digest of what `command` asks for."""
        identity = self._identity(command)
        surroundings = self._surroundings(command)
        return EnvelopeDigest(
            kind=command_kind(command),
            identity=short_digest(identity),
            surroundings=short_digest(surroundings) if surroundings else "",
            envelope={"identity": identity, "surroundings": surroundings},
        )

    def _identity(self, command: EffectCommand) -> JsonObject:
        match command:
            case LlmCallCommand(request=request):
                return self._transcript(request)
            case ToolAttemptCommand(call=call):
                return {"tool_id": call.tool_id, "call_id": call.call_id, "args": call.args}
            case ToolBatchCommand(batch_id=batch_id, calls=calls):
                return {"batch_id": batch_id, "calls": [call.call_id for call in calls]}
            case CheckpointCommand(checkpoint=checkpoint):
                return {"checkpoint": checkpoint}
            case SyncExecutionEnvironmentCommand(update_machine_config=update):
                return {"update_machine_config": update}
            case SleepCommand(duration_ms=duration_ms):
                return {"duration_ms": duration_ms}

    def _surroundings(self, command: EffectCommand) -> JsonObject:
        if not isinstance(command, LlmCallCommand):
            return {}
        request = command.request
        return {
            "instructions": self._part(request.instructions),
            "model": self._part(request.model),
            "tool_choice": request.tool_choice,
            "tools": self._part(request.tools),
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

    def _part(self, value: object) -> str:
        known = self._parts.get(id(value))
        if known is None or known[0] is not value:
            known = (value, short_digest(value))
            self._parts[id(value)] = known
        return known[1]


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
