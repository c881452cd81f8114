"""Keeping a long conversation within what a model can take: by leaving out its beginning, or by a summary.

    Runtime("agents.db", agents=[…], plugins=[RollingHistory(max_tokens=60_000)])

Sizes are estimates: a token is taken for four bytes of JSON, a picture or a document for 1,600 tokens, an
attached text for its bytes. Instructions, tools and what the turn itself adds are not counted, so there is to
be room for them beside the limit. Where the model's window is known, no more than three quarters of it are
used.
"""

from collections.abc import Sequence

from lash.core.errors import ConfigurationError
from lash.plugins.contexts import HistoryEntry, HistoryHook
from lash.plugins.directives import Compact, ShowFrom
from lash.plugins.plugin import Plugin

#: How many tokens of a conversation a model is shown unless the host says otherwise.
MAX_TOKENS = 96_000

_BYTES_PER_TOKEN = 4


class RollingHistory(Plugin):
    """Shows a model the end of a long conversation, from a turn's beginning on.

    What is shown grows until it is larger than the limit, and then begins anew with the last turns that fit
    into half of it: so a provider's prompt cache is lost once in many turns, and not with each of them. At
    least the last turn is shown, whatever its size. What is stored stays as it is.

    A session may be given another limit: `session.configure(plugins={"rolling_history": {"max_tokens":
    20_000}})`.

    Args:
        max_tokens: The limit.

    Raises:
        ConfigurationError: `plugin_invalid`: the limit is no number above 0.
    """

    id = "rolling_history"

    def __init__(self, *, max_tokens: int = MAX_TOKENS) -> None:
        self._max_tokens = _checked(max_tokens)

    def history(self, history: HistoryHook) -> ShowFrom | None:
        """From where on the conversation is shown."""
        entries, session = history.messages, history.session
        began = (session.state or {}).get("from")
        # Of another frame, or of a history that was forked before it: all of this one is shown.
        place = next((at for at, each in enumerate(entries) if each.id == began), 0)
        limit = _limit(history, self._max_tokens)
        if _tokens(entries[place:]) > limit:
            place = _last_turns(entries, place, limit // 2)
            session.remember({"from": entries[place].id})
        return ShowFrom(entries[place].id) if place else None


class AutoCompaction(Plugin):
    """Has a conversation that grew too long summarised, once the turn that finds it so is committed.

    The model goes on with the summary; nothing is deleted. If no summary comes of it, it is asked for again
    once the conversation is longer by a quarter of the limit.

    A session may be given another limit: `session.configure(plugins={"auto_compaction": {"max_tokens":
    20_000}})`.

    Args:
        max_tokens: The limit. What is summarised is sent to the model whole, so that a limit near its
            window comes too late.
        instructions: What summaries must keep, beside what they keep anyway.

    Raises:
        ConfigurationError: `plugin_invalid`: the limit is no number above 0.
    """

    id = "auto_compaction"

    def __init__(self, *, max_tokens: int = MAX_TOKENS, instructions: str = "") -> None:
        self._max_tokens = _checked(max_tokens)
        self._instructions = instructions

    def history(self, history: HistoryHook) -> Compact | None:
        """Whether the conversation is to be summarised."""
        session, size = history.session, _tokens(history.messages)
        limit = _limit(history, self._max_tokens)
        if size <= limit:
            return None
        state, begins = session.state or {}, history.messages[0].id
        # What was asked about another frame, or before a summary was made, is about another conversation.
        asked = state.get("asked_at") if state.get("begins") == begins else None
        if asked is not None and asked <= size < asked + limit // 4:
            return None
        session.remember({"asked_at": size, "begins": begins})
        return Compact(self._instructions)


def _last_turns(entries: Sequence[HistoryEntry], place: int, keep: int) -> int:
    """Where the last turns begin that fit, or the last one; `place` where no turn begins behind it."""
    size, found = 0, place
    for at in reversed(range(place, len(entries))):
        size += entries[at].size
        if found > place and size > keep * _BYTES_PER_TOKEN:
            break
        if entries[at].begins:
            found = at
    return found


def _tokens(entries: Sequence[HistoryEntry]) -> int:
    return sum(each.size for each in entries) // _BYTES_PER_TOKEN


def _limit(history: HistoryHook, max_tokens: int) -> int:
    given = history.session.options.get("max_tokens")
    wanted = given if isinstance(given, int) and given > 0 else max_tokens
    window = history.context_window_tokens
    return wanted if window is None else min(wanted, window * 3 // 4)


def _checked(max_tokens: int) -> int:
    given: object = max_tokens
    if not isinstance(given, int) or isinstance(given, bool) or given < 1:
        raise ConfigurationError(
            "plugin_invalid", f"max_tokens is a number above 0, not {max_tokens!r}."
        )
    return given
