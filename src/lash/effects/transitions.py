"""The journal's rules, as pure decisions (ARCHITECTURE D5).

| recorded                      | asked                    | decision                                  |
|-------------------------------|--------------------------|-------------------------------------------|
| nothing                       | anything                 | execute                                   |
| another kind or identity      |                          | mismatch, terminal                        |
| same identity, surroundings   | same                     | replay                                    |
| same identity, surroundings   | other, drift accepted    | replay, drift reported                    |
| same identity, surroundings   | other, drift not accepted | refused; the host may restart the scope  |
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, TypeAlias

import msgspec

from lash.core.errors import ReplayError
from lash.core.json import Data, JsonValue
from lash.effects.digest import EnvelopeDigest, short_digest
from lash.effects.journal import JournalRecord
from lash.effects.outcomes import (
    CheckpointOutcome,
    EffectFailed,
    EffectOutcome,
    PeekAwaitEventOutcome,
    RuntimeValueOutcome,
    SyncExecutionEnvironmentOutcome,
)

DriftPolicy: TypeAlias = Literal["accept", "refuse", "restart"]

#: A report names at most this many paths; the count says how many there are.
MAX_REPORTED_PATHS = 8

#: The largest outcome a journal takes, in bytes of JSON. Larger ones make every resume slow and
#: bloat the database; it is far more than any model can read.
MAX_OUTCOME_BYTES = 16 * 1024 * 1024

#: Outcomes above this lie outside the journal's rows, by content: equal ones are kept once, and
#: looking through a journal does not mean reading them.
SPILL_BYTES = 64 * 1024

_CAUSES = (
    ("kind", "the code now makes another kind of call at this point"),
    ("identity.history", "the session's committed history is not what the turn began with"),
    ("identity.added", "the turn now holds another number of messages at this point"),
    # The chain covers the last messages too, so it tells of an earlier one only when they are equal.
    ("identity.last", "a message of the turn differs: its input, a tool's result or its wording"),
    ("identity.chain", "an earlier message of the turn differs"),
    ("identity.args", "the tool is now called with other arguments"),
    ("identity.tool_id", "another tool is now called at this point"),
    ("identity.duration_ms", "the wait has another length"),
    ("surroundings.instructions", "the agent's instructions changed"),
    ("surroundings.tools", "the agent's tools changed"),
    ("surroundings.model", "the model or its options changed"),
)


class Execute(Data):
    """Nothing is recorded: run the executor."""


class Replay(Data):
    """The recorded outcome stands. `drift` names what changed around it."""

    outcome: str
    drift: tuple[str, ...] = ()


class Mismatch(Data):
    """The journal records something else."""

    paths: tuple[str, ...]
    count: int
    cause: str


class DriftRefused(Data):
    """What surrounds the effect changed, and the host refuses that."""

    paths: tuple[str, ...]
    cause: str


JournalDecision: TypeAlias = Execute | Replay | Mismatch | DriftRefused


def decide(
    recorded: JournalRecord | None, asked: EnvelopeDigest, policy: DriftPolicy = "accept"
) -> JournalDecision:
    """What to do with an effect, given what is recorded under its key."""
    if recorded is None:
        return Execute()
    if recorded.kind != asked.kind:
        return Mismatch(paths=("kind",), count=1, cause=likely_cause(["kind"]))
    if recorded.identity != asked.identity and not _same_call(recorded, asked):
        paths = _divergence("identity", recorded, asked)
        shown = tuple(paths[:MAX_REPORTED_PATHS])
        return Mismatch(paths=shown, count=len(paths), cause=likely_cause(paths))
    if recorded.surroundings == asked.surroundings:
        return Replay(outcome=recorded.outcome)
    drift = tuple(_divergence("surroundings", recorded, asked)[:MAX_REPORTED_PATHS])
    if policy != "accept":
        return DriftRefused(paths=drift, cause=likely_cause(drift))
    return Replay(outcome=recorded.outcome, drift=drift)


def _same_call(recorded: JournalRecord, asked: EnvelopeDigest) -> bool:
    """Whether two tool calls differ only in that the tool was, or is, not there.

    A tool that is gone has no id any more, and its recorded answer stands; a call that was refused
    because there was no tool stays refused when there is one.
    """
    now = asked.envelope.get("identity")
    if asked.kind != "tool_attempt" or not isinstance(now, Mapping):
        return False
    try:
        before = msgspec.json.decode(recorded.envelope, type=dict[str, JsonValue]).get("identity")
    except msgspec.MsgspecError:
        return False
    if not isinstance(before, Mapping) or None not in {before.get("tool_id"), now.get("tool_id")}:
        return False
    return short_digest({**now, "tool_id": before.get("tool_id")}) == recorded.identity


def replay_error(decision: Mismatch | DriftRefused, replay_key: str, kind: str) -> ReplayError:
    """The error that says what diverged, where, and what to do about it."""
    listed = ", ".join(decision.paths)
    if isinstance(decision, DriftRefused):
        return ReplayError(
            "effect_drift_refused",
            f"The {kind} {replay_key} was recorded under other surroundings ({listed}): "
            f"{decision.cause}. This runtime refuses drift: finish the turn with the code it began "
            "with, or open the runtime with on_drift='accept'.",
            paths=decision.paths,
            cause=decision.cause,
            replay_key=replay_key,
        )
    more = f" and {decision.count - len(decision.paths)} more" * (
        decision.count > len(decision.paths)
    )
    return ReplayError(
        "effect_replay_mismatch",
        f"The journal records another {kind} under {replay_key}; it differs at {listed}{more}. "
        f"Likely cause: {decision.cause}. Go on with the code that recorded it, or begin under another "
        "id.",
        paths=decision.paths,
        count=decision.count,
        replay_key=replay_key,
    )


def is_deferred(outcome: EffectOutcome) -> bool:
    """Whether an outcome needs no write of its own.

    It touched nothing outside, so it is written in the transaction of the next record that depends
    on it; if the machine dies first, nothing that followed it exists.
    """
    match outcome:
        case CheckpointOutcome(delivery=delivery):
            return delivery.empty
        case SyncExecutionEnvironmentOutcome() | PeekAwaitEventOutcome() | RuntimeValueOutcome():
            return True
        case _:
            return False


def differs_by_reader(outcome: EffectOutcome) -> bool:
    """Whether two who ask at once may be told different things: of a clock, of chance, of a promise."""
    return isinstance(outcome, RuntimeValueOutcome | PeekAwaitEventOutcome)


def fit_outcome(encoded: bytes, limit: int = MAX_OUTCOME_BYTES) -> EffectFailed | None:
    """The failure to record instead of an outcome that is too large, or None when it fits."""
    if len(encoded) <= limit:
        return None
    path, size = largest_part(msgspec.json.decode(encoded))
    return EffectFailed(
        code="effect_outcome_too_large",
        message=(
            f"The outcome is {len(encoded)} bytes, more than the {limit} an effect may record; "
            f"most of it is at {path} ({size} bytes). Store large data elsewhere and return a "
            "reference."
        ),
    )


def largest_part(value: JsonValue) -> tuple[str, int]:
    """The path of the deepest part that holds most of a value's bytes, and how many."""
    path, size = "$", len(msgspec.json.encode(value))
    while True:
        parts = sorted(
            ((len(msgspec.json.encode(item)), step, item) for step, item in _children(value)),
            key=lambda part: -part[0],
        )
        if not parts or parts[0][0] * 2 < size:
            return path, size
        size, step, value = parts[0]
        path += step


def _children(value: JsonValue) -> Iterator[tuple[str, JsonValue]]:
    if isinstance(value, Mapping):
        yield from ((f".{key}", item) for key, item in value.items())
    elif isinstance(value, Sequence) and not isinstance(value, str):
        yield from ((f"[{index}]", item) for index, item in enumerate(value))


def _divergence(part: str, recorded: JournalRecord, asked: EnvelopeDigest) -> list[str]:
    try:
        before = msgspec.json.decode(recorded.envelope, type=dict[str, JsonValue])
    except msgspec.MsgspecError:
        return [part]  # it only serves the report; the digests have decided already
    now = msgspec.json.decode(msgspec.json.encode(asked.envelope), type=dict[str, JsonValue])
    paths = list(_differences(before.get(part), now.get(part), part))
    return paths or [part]


def _differences(before: JsonValue, now: JsonValue, path: str) -> Iterator[str]:
    """Paths at which two JSON values differ: objects by key, arrays by index."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in sorted(before.keys() | now.keys()):
            if key not in before or key not in now:
                yield f"{path}.{key}"
            else:
                yield from _differences(before[key], now[key], f"{path}.{key}")
    elif isinstance(before, list) and isinstance(now, list):
        for index in range(max(len(before), len(now))):
            if index >= min(len(before), len(now)):
                yield f"{path}[{index}]"
            else:
                yield from _differences(before[index], now[index], f"{path}[{index}]")
    elif before != now or type(before) is not type(now):
        yield path


def likely_cause(paths: Sequence[str]) -> str:
    """What usually lies behind a divergence at these paths."""
    for prefix, cause in _CAUSES:
        if any(path.startswith(prefix) for path in paths):
            return cause
    return "the code changed since the effect was recorded"
