"""What a process has recorded and not asked for again yet: by that a changed function is found out.

A function that is run again asks, branch by branch, for what it asked for before. If it asks for
something new while records of the same branch are left over, it is not the function that made them.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from lash.core.errors import ReplayError
from lash.effects.journal import JournalRecord
from lash.processes.events import ProcessEvent

#: How many parts of a key name the effect itself; what follows names attempts and waits below it.
_PARTS = {
    "step": 3,
    "sleep": 2,
    "value": 3,
    "signal": 3,
    "emit": 2,
    "start": 2,
    "result": 2,
    "tell": 2,
    "trigger": 3,
    "turn": 2,
    "settled": 2,
    "cancelled": 1,
}

#: Where it is recorded at which effect the process was told to stop.
CANCELLED_KEY = "cancelled"


def branch_of(key: str) -> str:
    """The branch that an effect was asked for in; "" is the process itself."""
    return key.split("|", 1)[0] if key.startswith("&") else ""


def effect_of(key: str) -> str:
    """The effect that a key belongs to: itself, or what it stands below."""
    branch = branch_of(key)
    name = key[len(branch) + 1 :] if branch else key
    parts = name.split(":")
    if parts[0] == "direct":
        count = 3 if parts[1] == "request" else 4
    else:
        count = _PARTS.get(parts[0], len(parts))
    effect = ":".join(parts[:count])
    return f"{branch}|{effect}" if branch else effect


class _Value(msgspec.Struct):
    """What is read of a recorded runtime value."""

    value: int | float | str = ""


class Replayed:
    """The records of a segment, as far as they were not asked for again.

    Args:
        records: All of them, in the order in which they were recorded.
        ordered: Whoever runs it again asks for them in order; else nothing is said of what is left.
    """

    def __init__(self, records: Sequence[JournalRecord], *, ordered: bool = True) -> None:
        self._left: dict[str, OrderedDict[str, None]] = {}
        self._keys = {record.replay_key for record in records}
        self._settled: dict[str, int] = {}
        self._waits: dict[str, str] = {}
        self._events: dict[str, ProcessEvent] = {}
        self.cancelled_at: str | None = None
        for record in records:
            key = record.replay_key
            if key == CANCELLED_KEY:
                self.cancelled_at = str(_value(record))
                continue
            if effect_of(key).split("|")[-1].startswith("settled:"):
                self._settled[key] = int(_value(record) or 0)
            if record.kind == "await_event":
                self._waits[key] = record.outcome
            if ordered:
                self._left.setdefault(branch_of(key), OrderedDict())[effect_of(key)] = None

    def appended(self, events: Iterable[tuple[str, ProcessEvent]]) -> None:
        """Events of its own that the segment appended, by the key of the effect: they are not in the journal."""
        for key, event in events:
            self._events[key] = event
            self._left.setdefault(branch_of(key), OrderedDict())[effect_of(key)] = None

    def event(self, key: str) -> ProcessEvent | None:
        """The event that was appended before this run began."""
        return self._events.get(key)

    @property
    def replaying(self) -> bool:
        """Whether records are left that were not asked for again."""
        return any(self._left.values())

    def has(self, key: str) -> bool:
        """Whether an effect was recorded before this run began."""
        return key in self._keys

    def signal(self, key: str) -> int | None:
        """Which signal a wait took before this run began, by its place in the log."""
        outcome = self._waits.get(key)
        if outcome is None:
            return None
        try:
            return msgspec.json.decode(outcome, type=_Wait).resolution.payload.sequence
        except msgspec.MsgspecError:
            return None  # it timed out

    def signals(self) -> Iterator[tuple[str, int]]:
        """Which signals were taken before this run began, by name and place in the log."""
        for key in self._waits:
            lane, _, rest = effect_of(key)[len(branch_of(key)) :].lstrip("|").partition(":")
            sequence = self.signal(key)
            if lane == "signal" and sequence is not None:
                yield rest.split(":")[0], sequence

    def settled(self, key: str) -> int | None:
        """Which branch came first, if that was recorded."""
        return self._settled.get(key)

    def taken(self, key: str) -> None:
        """The effect was asked for again."""
        left = self._left.get(branch_of(key))
        if left is not None:
            left.pop(key, None)

    def drop_branches(self, prefix: str, kept: str) -> None:
        """Nobody will ask for what these branches recorded: another one came first."""
        for branch in [name for name in self._left if name.startswith(prefix)]:
            if branch != kept and not branch.startswith(f"{kept}&"):
                del self._left[branch]

    def check(self, branch: str, asked: str) -> None:
        """Refuse to go on with something new while records of its branch are left over.

        Raises:
            ReplayError: `process_journal_left_over`.
        """
        left = self._left.get(branch)
        if not left:
            return
        first, count = next(iter(left)), len(left)
        more = f" and {count - 1} more" if count > 1 else ""
        raise ReplayError(
            "process_journal_left_over",
            f"{asked}, but its journal holds {first}{more} next, which it did not ask for: the code of "
            "the process changed. Go on with the version that recorded it (register both under their "
            "versions), or begin a new process.",
            asked=asked,
            recorded=first,
            count=count,
        )


class _Taken(msgspec.Struct):
    sequence: int


class _Resolution(msgspec.Struct):
    payload: _Taken


class _Wait(msgspec.Struct):
    """What is read of a recorded wait for a signal that took one."""

    resolution: _Resolution


def _value(record: JournalRecord) -> int | float | str:
    try:
        return msgspec.json.decode(record.outcome, type=_Value).value
    except msgspec.MsgspecError:
        return ""  # whoever asks for it is told that it cannot be read
