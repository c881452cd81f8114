"""What plugins remember, as it is kept with a session and with its turns. Pure.

A session's head has all of it. A turn's record has what the turn before it had changed, so that what does
not change is kept once, however many turns there are.
"""

from collections.abc import Sequence

import msgspec

from lash.core.json import JsonObject, JsonValue, encode
from lash.sessions.model import SessionConfig, SessionHead, TurnRecord


def remembered_after(
    config: SessionConfig, told: JsonObject | None, revision: int
) -> SessionConfig:
    """What a session says once a turn is committed, as far as plugins remember it.

    Args:
        config: What it said when the turn began.
        told: What they all remember from here on; None for no change.
        revision: Where the session stood when the turn began.
    """
    before, since = config.plugin_state, dict(config.plugin_state_since)
    after = before if told is None else told
    for plugin_id, state in after.items():
        if plugin_id not in before or encode(before[plugin_id]) != encode(state):
            since[plugin_id] = revision + 1
        elif plugin_id not in since:
            since[plugin_id] = (
                revision  # of before this was counted: the record of this turn has it
            )
    if told is None and since == config.plugin_state_since:
        return config
    return msgspec.structs.replace(config, plugin_state=after, plugin_state_since=since)


def kept_with_turn(head: SessionHead) -> SessionConfig:
    """What the record of a turn keeps of what its session said when it began."""
    config, since = head.config, head.config.plugin_state_since
    kept = {
        plugin_id: state
        for plugin_id, state in config.plugin_state.items()
        if since.get(plugin_id, head.revision) == head.revision
    }
    return msgspec.structs.replace(config, plugin_state=kept)


def begun_anew(config: SessionConfig) -> SessionConfig:
    """What a fork says of what its source said: it counts its own revisions."""
    since = dict.fromkeys(config.plugin_state, 0)
    return msgspec.structs.replace(config, plugin_state_since=since)


def config_of(record: TurnRecord, records: Sequence[TurnRecord]) -> SessionConfig:
    """What a session said when a turn began, in full.

    Args:
        record: The turn.
        records: The committed turns of its session. What is kept with one that is gone is left out.
    """
    config = record.config
    by_revision = {each.revision: each for each in records}
    state: dict[str, JsonValue] = {}
    for plugin_id, since in config.plugin_state_since.items():
        keeper = by_revision.get(since + 1)
        if keeper is not None and plugin_id in keeper.config.plugin_state:
            state[plugin_id] = keeper.config.plugin_state[plugin_id]
    return msgspec.structs.replace(config, plugin_state={**state, **config.plugin_state})
