"""What plugins remember of a session: changed by hooks, recorded with what they belong to, kept by commits.

A hook that ran is not run again when its turn is resumed. So what it has changed is a part of the outcome
of the effect it belongs to, and is taken from there, whether the effect was executed or replayed.
"""

from collections.abc import Mapping

import msgspec

from lash.core.errors import LashError
from lash.core.json import JsonObject, JsonValue, encode, to_json
from lash.effects.outcomes import StateChange
from lash.plugins.contexts import PluginSession
from lash.runtime.events import Announce, PluginEmitted
from lash.sessions.model import SessionHead


class PluginStates:
    """What the plugins remember during one drive of a turn.

    Tool calls run side by side, and their effects may be replayed in another order than that in which
    their hooks ran. So every change has a number, and of several the one with the highest holds. What
    is changed is seen at once by the hooks of other calls; it is kept once it is recorded.
    """

    def __init__(self, head: SessionHead, announce: Announce) -> None:
        self._head = head
        self._announce = announce
        self._now: dict[str, tuple[int, JsonValue]] = {
            plugin_id: (0, state) for plugin_id, state in head.config.plugin_state.items()
        }
        self._recorded = dict(self._now)
        self._numbered = 0

    def begin(self) -> "EffectStates":
        """For the hooks of one effect, while it is executed."""
        return EffectStates(self, self._announce)

    def get(self, plugin_id: str) -> JsonValue:
        """What a plugin remembers: a copy, so that only `put` changes it."""
        _, held = self._now.get(plugin_id, (0, None))
        return None if held is None else msgspec.json.decode(encode(held))

    def put(self, plugin_id: str, state: JsonValue) -> tuple[int, JsonValue]:
        """Remember this; gives the change to be recorded."""
        self._numbered += 1
        change = self._now[plugin_id] = (self._numbered, state)
        return change

    def took_place(self, changes: Mapping[str, StateChange]) -> None:
        """An effect has its outcome, in which hooks had changed this."""
        for plugin_id, (number, state) in changes.items():
            self._numbered = max(self._numbered, number)
            for known in (self._now, self._recorded):
                if number >= known.get(plugin_id, (0, None))[0]:
                    known[plugin_id] = (number, state)

    @property
    def to_commit(self) -> JsonObject | None:
        """What is to be kept with the turn; None where nothing has changed."""
        if not any(number for number, _ in self._recorded.values()):
            return None
        return {plugin_id: state for plugin_id, (_, state) in self._recorded.items()}

    @property
    def session_id(self) -> str:
        """The session."""
        return self._head.session_id

    def session(self, plugin_id: str, keeper: "EffectStates | None" = None) -> PluginSession:
        """The session, as one plugin sees it."""
        head = self._head
        given = head.config.plugin_options.get(plugin_id)
        return PluginSession(
            session_id=head.session_id,
            agent=head.agent.name,
            plugin_id=plugin_id,
            # A plugin may change what it is given; the session must not see that.
            options=msgspec.json.decode(encode(given)) if isinstance(given, Mapping) else {},
            _keeper=keeper or Remembered(self),
        )


class Remembered:
    """What plugins remember, where nothing can be changed."""

    __slots__ = ("_states",)

    def __init__(self, states: PluginStates) -> None:
        self._states = states

    def get(self, plugin_id: str) -> JsonValue:
        """What the plugin remembers."""
        return self._states.get(plugin_id)

    def put(self, plugin_id: str, state: JsonValue) -> None:
        """Refused: nothing is recorded here."""
        del state
        raise LashError(
            "plugin_state_read_only",
            f"Nothing is recorded here, so plugin {plugin_id!r} can remember nothing. Remember it in a "
            "hook of a turn or of a tool call.",
            plugin_id=plugin_id,
        )

    def emit(self, plugin_id: str, name: str, payload: JsonValue) -> None:
        """Refused as well: it would be said again with every model call."""
        del name, payload
        self.put(plugin_id, None)


class EffectStates:
    """What hooks change during one effect; see `lash.plugins.contexts.StateKeeper`."""

    __slots__ = ("_announce", "_states", "changes")

    def __init__(self, states: PluginStates, announce: Announce) -> None:
        self._states = states
        self._announce = announce
        self.changes: dict[str, StateChange] = {}

    def get(self, plugin_id: str) -> JsonValue:
        """What the plugin remembers."""
        return self._states.get(plugin_id)

    def put(self, plugin_id: str, state: JsonValue) -> None:
        """Remember this."""
        self.changes[plugin_id] = self._states.put(plugin_id, to_json(state))

    def emit(self, plugin_id: str, name: str, payload: JsonValue) -> None:
        """Tell those who watch the session."""
        self._announce(PluginEmitted(plugin_id=plugin_id, name=name, payload=payload))
