"""A conversation while somebody sits at it: what is said, queued and stopped, and who waits for it."""

import asyncio
from collections.abc import Coroutine, Sequence

from lash.app.queued import QueuedInput
from lash.app.runtime import Runtime
from lash.app.session import Session
from lash.cli.chat.flow import Flow
from lash.cli.chat.screen import Kind, Screen
from lash.cli.wording import agent_text, counted, one_line
from lash.core.clock import SystemIds
from lash.core.errors import LashError, SessionBusyError
from lash.runtime.observed import Committed, Event, Item, TurnActivity
from lash.runtime.observing import Observation

ORIGIN = "lash chat"
_REASON = "stopped at the keyboard"

#: How many seconds a turn that was asked to stop is given when the chat is left; tools get 50 ms.
_STOP_S = 2.0


class Conversation:
    """One session at a time, followed by observing it. Nothing here waits for a turn to end.

    Attributes:
        runtime: The runtime.
        session: The session that is talked to now.
        screen: What shows it.
    """

    def __init__(self, runtime: Runtime, session: Session, screen: Screen) -> None:
        self.runtime = runtime
        self.session = session
        self.screen = screen
        self._flow = Flow(screen, self._taken)
        self._observation: Observation | None = None
        self._reader: asyncio.Task[None] | None = None
        self._waiting: dict[str, QueuedInput] = {}
        self._turns: set[asyncio.Task[None]] = set()
        self._asides: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._opened = asyncio.Event()

    async def open(self) -> None:
        """Say where the session stands and begin to follow it."""
        try:
            await self._open()
        finally:
            self._opened.set()

    async def _open(self) -> None:
        observation = self.session.observe()
        await observation.__aenter__()
        self._observation = observation
        flow = self._flow = Flow(self.screen, self._taken)
        await self._tell_state()
        flow.show(await anext(observation))
        self._reader = asyncio.create_task(self._read(observation, flow), name="lash-chat-read")

    async def close(self) -> None:
        """Follow nothing any more. What was accepted stays accepted, unless it was asked to stop."""
        if self._stopping and self._turns:
            await asyncio.wait(self._turns, timeout=_STOP_S)
        for task in (*self._turns, *self._asides):
            task.cancel()
        await self._leave()

    async def switch(self, session: Session) -> None:
        """Talk to another session. What runs in the one before goes on."""
        self._opened.clear()
        await self._leave()
        self.session = session
        self._waiting = {}
        await self.open()

    @property
    def leaves_work(self) -> bool:
        """Whether something is under way that goes on when the session is opened again."""
        return self.running and not self._stopping

    @property
    def running(self) -> bool:
        """Whether a turn of the session is under way, as far as is known here."""
        return self._flow.running or bool(self._turns)

    def under_way(self) -> Sequence[tuple[str, Kind]]:
        """What is under way now, and what waits to be taken."""
        lines = list(self._flow.under_way())
        for item in self._waiting.values():
            where = "this turn" if item.state == "pending_active" else "the next turn"
            lines.append((f"⋯ for {where}: {one_line(item.text, 60)}", "user"))
        return lines

    # --- what the user does -------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Begin a turn; or bring the text into the turn that runs."""
        if not self._opened.is_set():
            # Else it would be taken for a turn that was left unfinished in the session that is opened.
            self.aside(self._say_once_opened(text))
        elif self.running:
            self._begin(self._queue(text, into_running=True))
        else:
            self._stopping = False
            self.screen.line(f"> {text}", "user")
            self._begin(self._turn(text))

    async def _say_once_opened(self, text: str) -> None:
        await self._opened.wait()
        self.say(text)

    def say_next(self, text: str) -> None:
        """Have the next turn begin with the text."""
        self._begin(self._queue(text, into_running=False))

    def stop(self) -> None:
        """Ask the turn that runs to stop."""
        self._stopping = True
        self.aside(self._stop())

    def aside(self, work: Coroutine[object, object, None]) -> None:
        """Do something beside the turns, such as a command."""
        self._start(work, self._asides)

    # --- underneath ---------------------------------------------------------------------------------

    def _begin(self, work: Coroutine[object, object, None]) -> None:
        self._start(work, self._turns)

    def _start(self, work: Coroutine[object, object, None], tasks: set[asyncio.Task[None]]) -> None:
        task = asyncio.create_task(self._guarded(work))
        tasks.add(task)

        def ended(done: asyncio.Task[None]) -> None:
            tasks.discard(done)
            self.screen.refresh()

        task.add_done_callback(ended)

    async def _guarded(self, work: Coroutine[object, object, None]) -> None:
        try:
            await work
        except LashError as error:
            if error.code != "turn_input_cancelled":  # somebody took it back, and was told so
                self.screen.line(f"[error] {error}", "error")

    async def _turn(self, text: str) -> None:
        turn_id = SystemIds().new("turn")
        self._flow.began(turn_id)
        try:
            await self.session.run(text, turn_id=turn_id)
        except SessionBusyError:
            self.screen.line("[queue] another process drives this session; it takes the line next")
            # What is said there is shown once it is committed, this line included.
            item = await self.session.enqueue(text)
            await item.result()

    async def _queue(self, text: str, *, into_running: bool) -> None:
        session = self.session
        item = await (session.inject(text) if into_running else session.enqueue(text))
        if self.session is session and item.state in {"pending_active", "deferred_next_turn"}:
            self._waiting[item.input_id] = item
            self.screen.refresh()
        await item.result()

    async def _stop(self) -> None:
        receipt = await self.session.cancel(origin=ORIGIN, reason=_REASON)
        match receipt.outcome:
            case "requested":
                self.screen.line(f"[stop] turn {receipt.turn_id} is asked to stop")
            case "already_requested":
                self.screen.line(f"[stop] turn {receipt.turn_id} was asked to stop before")
            case "completion_won_race":
                self.screen.line("[stop] the turn had come to its end first")
            case _:
                self.screen.line("[stop] there is nothing to stop")

    async def _tell_state(self) -> None:
        info = await self.session.info()
        if info is None:
            self.screen.line(f"{self.session.id} · a new session · /help tells the commands")
            return
        facts = [self.session.id, agent_text(info.agent), counted(info.turns, "turn")]
        self.screen.line(f"{' · '.join(facts)} · /help tells the commands")
        engine = self.runtime.engine
        turns = await engine.store.list_open_turns(self.session.id)
        if turns:
            elsewhere = await engine.held_elsewhere(self.session.id)
            how = "runs in another process" if elsewhere else "was left unfinished: it is resumed"
            self.screen.line(f"[resume] turn {turns[0].turn_id} {how}", "warning")
        for turn in turns:
            if turn.input.text:
                self.screen.line(f"> {turn.input.text}", "user")
            self._flow.began(turn.turn_id)
            self._begin(self._wait(self.session, turn.turn_id))
        for item in await self.session.pending():
            self._waiting[item.input_id] = item

    async def _wait(self, session: Session, turn_id: str) -> None:
        await session.wait(turn_id)

    async def _leave(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.cancel()
            await asyncio.wait([reader])
        observation, self._observation = self._observation, None
        if observation is not None:
            await observation.aclose()

    # --- following ----------------------------------------------------------------------------------

    async def _read(self, observation: Observation, flow: Flow) -> None:
        try:
            async for item in observation:
                # What a turn that is not known here said is told as that turn's; what is taken by the
                # next turn is told after the end of the one before.
                unknown = _is_of_unknown_turn(item, flow)
                if self._waiting and unknown:
                    await self._look_at_queue()
                flow.show(item)
                if self._waiting and not unknown and _may_move_queue(item):
                    await self._look_at_queue()
        except LashError as error:
            if error.code != "runtime_closed":
                self.screen.line(f"[error] the session is not followed any more: {error}", "error")

    async def _look_at_queue(self) -> None:
        """Find out what was taken by a turn's beginning, which no event tells."""
        for input_id, item in tuple(self._waiting.items()):
            now = await item.refresh()
            if now.state in {"accepted", "completed"}:
                # At a checkpoint: that is told where it happened.
                if now.turn_id is None or not self._flow.knows(now.turn_id):
                    self._taken([input_id])
                if now.turn_id is not None:
                    self._flow.began(now.turn_id)
            elif now.state == "cancelled":
                self._waiting.pop(input_id, None)
            else:
                self._waiting[input_id] = now

    def _taken(self, input_ids: Sequence[str]) -> None:
        for input_id in input_ids:
            item = self._waiting.pop(input_id, None)
            if item is not None:
                self.screen.line(f"> {item.text}", "user")


def _is_of_unknown_turn(item: Item, flow: Flow) -> bool:
    """Whether a turn is told of for the first time."""
    match item:
        case Event(event=TurnActivity(turn_id=turn_id) | Committed(turn_id=turn_id)):
            return not flow.knows(turn_id)
        case _:
            return False


def _may_move_queue(item: Item) -> bool:
    """Whether queued input may have been taken, or have changed its place, by then."""
    return not (isinstance(item, Event) and isinstance(item.event, TurnActivity))
