"""What a client shows of a session: the fold of the items that observing it gives.

Committed messages are the truth; live text is a preview that its turn's commit replaces.
"""

from collections.abc import Mapping, Sequence

from lash.app.results import HistoryMessage, history_message
from lash.llm.usage import Usage
from lash.runtime.observed import (
    Committed,
    Event,
    Gap,
    Item,
    LiveTurn,
    LiveTurns,
    Observed,
    SessionView,
    Snapshot,
    TurnActivity,
    TurnInterrupted,
)
from lash.turn.messages import join_prose


class LiveView:
    """One session as a client shows it. Give it every item, in order.

        view = LiveView()
        async with session.observe() as items:
            async for item in items:
                view.apply(item)

    To go on after a lost connection, observe again with `view.cursor`.

    Attributes:
        cursor: Where the view stands; None before the first item.
        revision: How many commits it holds.
        turn_index: How many committed turns it holds.
        usage: Their tokens.
    """

    def __init__(self) -> None:
        self.cursor: str | None = None
        self.revision = 0
        self.turn_index = 0
        self.usage = Usage()
        self._messages: list[HistoryMessage] = []
        self._live = LiveTurns()

    @property
    def messages(self) -> Sequence[HistoryMessage]:
        """The committed messages, first to last."""
        return tuple(self._messages)

    @property
    def live(self) -> Mapping[str, LiveTurn]:
        """What was shown of the running turns so far, by turn."""
        return {turn.turn_id: turn for turn in self._live.view()}

    @property
    def text(self) -> str:
        """The answer that is being written: the live text of the newest running turn, or ""."""
        turns = self._live.view()
        shown = [text.text for text in turns[-1].texts if text.kind == "text"] if turns else []
        return join_prose(shown)

    def apply(self, item: Item) -> None:
        """Take in the next item."""
        match item:
            case Snapshot(view=view) | Gap(view=view):
                self._replace(view)
            case Event(event=event):
                self._happened(event)
        self.cursor = item.cursor

    def _replace(self, view: SessionView) -> None:
        self.revision = view.revision
        self.turn_index = view.turn_index
        self.usage = view.usage
        self._messages = [history_message(message) for message in view.messages]
        self._live = LiveTurns(view.live)

    def _happened(self, event: Observed) -> None:
        match event:
            case TurnActivity(turn_id=turn_id, event=happened):
                self._live.apply(turn_id, happened)
            case Committed(turn_id=turn_id):
                self._live.discard(turn_id)
                if event.revision > self.revision:
                    self.revision = event.revision
                    self.turn_index += 1
                    self.usage += event.record.usage
                    self._messages += [history_message(message) for message in event.messages]
            case TurnInterrupted(turn_id=turn_id):
                self._live.discard(turn_id)
            case _:
                pass  # nothing that this view shows
