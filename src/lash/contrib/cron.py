"""Events that are due at certain times: a small object that the host runs, and that emits them.

Emitting is what is durable, not the waiting: each tick is emitted under its source and its due time as
key, so that several runtimes which run the same schedule emit it once, and so that a runtime which was
away finds out what it has missed.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from lash.core.clock import Clock
from lash.core.errors import ConfigurationError
from lash.core.json import Data, JsonValue
from lash.runtime.triggers.events import TriggerEvent
from lash.runtime.triggers.reports import EmitReport
from lash.triggers.identities import source_key_of
from lash.triggers.model import Occurrence

#: What to do about ticks that nobody emitted because nobody was there.
Missed = Literal["last", "all", "none"]

#: Given a moment, the moment of the next tick; never the given one.
Schedule = Callable[[datetime], datetime]

#: A wait is never longer, so that a clock that was set is noticed.
_LONGEST_S = 60.0

#: So many missed ticks are emitted at most when all of them are wanted; it is an error to miss more.
_MOST_MISSED = 10_000

#: Ticks that were made up for in one millisecond have no order in the database; so many are compared. What
#: is taken for missed, and is not, is there under its key.
_SAME_MOMENT = 200


class Tick(Data):
    """What the event of a schedule says.

    Attributes:
        due_at_ms: When it was due, in milliseconds since the epoch.
        due: The same as text, in UTC.
    """

    due_at_ms: int
    due: str


class Emitter(Protocol):
    """What a schedule needs of `runtime.triggers`."""

    @property
    def clock(self) -> Clock:
        """What tells the time."""
        ...

    async def emit(
        self,
        event: TriggerEvent | str,
        payload: object = None,
        *,
        key: str | None = None,
        source: object = None,
    ) -> EmitReport:
        """Say that something occurred."""
        ...

    async def occurrences(
        self,
        event: str | None = None,
        *,
        source: object = None,
        limit: int = 1000,
        newest: bool = False,
    ) -> Sequence[Occurrence]:
        """What occurred."""
        ...


def every(interval: timedelta) -> Schedule:
    """A tick each time that an interval has passed since the epoch: every full hour, for an hour.

    Raises:
        ConfigurationError: `cron_invalid`: an interval of less than a second.
    """
    if interval < timedelta(seconds=1):
        raise _invalid(f"an interval of {interval} is shorter than a second")
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return lambda moment: epoch + ((moment - epoch) // interval + 1) * interval


def crontab(expression: str, timezone: str = "UTC") -> Schedule:
    """The ticks of a cron expression of five fields (six with seconds in front), in a time zone.

    Where clocks are put forward or back, it goes as Debian's cron goes: what is skipped runs right
    after, what comes twice runs once, and what runs every hour or minute is left alone.

    Raises:
        ConfigurationError: `cron_invalid`; `cron_not_installed`: it takes the `cron` extra.
    """
    try:
        from cronsim import CronSim, CronSimError
    except ImportError as error:
        raise ConfigurationError(
            "cron_not_installed",
            "Cron expressions take the package cronsim: install lash-runtime[cron]. every(…) does "
            "without it.",
        ) from error
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise _invalid(f"no time zone {timezone!r} is known here") from error

    def after(moment: datetime) -> datetime:
        try:
            due: datetime = next(CronSim(expression, moment.astimezone(zone)))
        except (CronSimError, StopIteration) as error:
            raise _invalid(f"{expression!r} is no cron expression that ever comes due") from error
        return due

    after(datetime(2000, 1, 1, tzinfo=UTC))
    return after


class Cron:
    """A schedule that emits an event at each of its ticks.

        nightly = Cron("report.due", "0 2 * * *", timezone="Europe/Berlin")

        async with lash.Runtime("agents.db", triggers=[nightly.event]) as runtime:
            await nightly.run(runtime.triggers)

    Run it in as many processes as you like: each tick is emitted once.

    Attributes:
        event: The event, for `Runtime(triggers=[…])`. It says what a `Tick` does.
        source: Which schedule it is: give it to `subscribe` as well.
        missed: What becomes of ticks that came while nobody was there.

    Args:
        event: The event's name.
        when: A cron expression, or a `Schedule` such as `every(timedelta(minutes=5))`.
        timezone: In which time zone a cron expression is meant.
        missed: Which of the ticks to emit that nobody emitted: the last one, all, or none but one that
            is less than a minute late. They are those since the last tick that the database knows of;
            a schedule that never ticked, or whose ticks are forgotten, has missed nothing.
        source: Which schedule it is, if several emit the same event.

    Raises:
        ConfigurationError: `cron_invalid`, `cron_not_installed`, `trigger_event_invalid`.
    """

    def __init__(
        self,
        event: str,
        when: str | Schedule,
        *,
        timezone: str = "UTC",
        missed: Missed = "last",
        source: JsonValue = None,
    ) -> None:
        if missed not in {"last", "all", "none"}:
            raise _invalid(f"missed is 'last', 'all' or 'none', not {missed!r}")
        if not (isinstance(when, str) or callable(when)):
            raise _invalid(
                f"it is due by a cron expression or a schedule such as every(timedelta(hours=1)), not {when!r}"
            )
        self.event = TriggerEvent(event, payload=Tick)
        self.source = source
        self.missed = missed
        self._schedule = crontab(when, timezone) if isinstance(when, str) else when

    def __repr__(self) -> str:
        return f"Cron({self.event.name!r})"

    def after(self, moment: datetime) -> datetime:
        """The first tick behind a moment.

        Raises:
            ConfigurationError: `cron_invalid`: the schedule does not go on from there.
        """
        # In one zone: where clocks are put back, times of different zones never compare as equal.
        due = self._schedule(moment.astimezone(UTC)).astimezone(UTC)
        if due <= moment:
            raise _invalid(f"it says that {due} comes behind {moment}")
        return due

    def between(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """The ticks behind one moment, up to and including another."""
        due = self.after(start)
        while due <= end:
            yield due
            due = self.after(due)

    def key(self, due: datetime) -> str:
        """Under which key a tick is emitted: its event, its source and when it is due."""
        named = source_key_of(self.event.name, self.source).rsplit(":", 1)[1]
        return f"cron:{named}:{_ms(due)}"

    async def run(self, triggers: Emitter) -> None:
        """Emit what was missed, then each tick when it is due, until cancelled.

        Raises:
            LashError: What `emit` raises; run it again, and it goes on where it was.
        """
        last = await self._known(triggers)
        while True:
            last = await self._emit_due(triggers, last)
            left = (self.after(last) - _now(triggers)).total_seconds()
            # Not all of it at once: a clock that is set, or a machine that slept, is noticed.
            await triggers.clock.sleep(min(max(left, 0.0), _LONGEST_S))

    async def catch_up(self, triggers: Emitter) -> int:
        """Emit what is due now, as a job of the machine's own scheduler would; how many ticks.

        Raises:
            LashError: What `emit` raises.
        """
        last, now = await self._known(triggers), _now(triggers)
        due = self._wanted(last, now)
        for tick in due:
            await self._tick(triggers, tick)
        return len(due)

    async def _known(self, triggers: Emitter) -> datetime:
        """The last tick that the database knows of, or now."""
        found = await triggers.occurrences(
            self.event.name, source=self.source, limit=_SAME_MOMENT, newest=True
        )
        known = [at for at in map(_due_of, found) if at is not None]
        return max(known, default=None) or _now(triggers)

    async def _emit_due(self, triggers: Emitter, last: datetime) -> datetime:
        """Emit what has come due behind a moment; the moment up to which that is done."""
        now = _now(triggers)
        for due in self._wanted(last, now):
            await self._tick(triggers, due)
        return max(last, now)

    def _wanted(self, start: datetime, end: datetime) -> Sequence[datetime]:
        if self.missed != "all":
            last = self._last(start, end)
            late = last is not None and end - last > timedelta(seconds=_LONGEST_S)
            return [] if last is None or (late and self.missed == "none") else [last]
        wanted: list[datetime] = []
        for due in self.between(start, end):
            wanted.append(due)
            if len(wanted) > _MOST_MISSED:
                raise _invalid(f"more than {_MOST_MISSED} ticks were missed; use missed='last'")
        return wanted

    def _last(self, start: datetime, end: datetime) -> datetime | None:
        """The last tick behind a moment, up to another: looked for from the end, not to walk all of it."""
        window = timedelta(seconds=2)
        while True:
            begin = max(start, end - window)
            found = list(self.between(begin, end))
            if found or begin == start:
                return found[-1] if found else None
            window *= 4

    async def _tick(self, triggers: Emitter, due: datetime) -> None:
        tick = Tick(due_at_ms=_ms(due), due=due.isoformat())
        await triggers.emit(self.event, tick, key=self.key(due), source=self.source)


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _now(triggers: Emitter) -> datetime:
    return datetime.fromtimestamp(triggers.clock.now_ms() / 1000, UTC)


def _due_of(occurrence: Occurrence) -> datetime | None:
    """When a tick was due that was emitted before."""
    told = occurrence.payload
    at_ms = told.get("due_at_ms") if isinstance(told, dict) else None
    return datetime.fromtimestamp(at_ms / 1000, UTC) if isinstance(at_ms, int) else None


def _invalid(why: str) -> ConfigurationError:
    return ConfigurationError("cron_invalid", f"The schedule cannot be: {why}.")
