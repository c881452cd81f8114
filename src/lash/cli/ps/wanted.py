"""Which processes are to be shown, and reading them."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import cast

from lash.cli.ps.standing import Known, Owners, Standing, known, standing
from lash.cli.ps.states import GROUPS, StateFilter
from lash.processes.listing import ProcessFilter, StatusFilter, matches
from lash.processes.model import RETIRED, ProcessRecord
from lash.runtime.stores import Store

_PAGE = 500


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line asked for; None where it said nothing.

    Attributes:
        state: As `--status` tells it.
        name: The function, agent or label.
        session: A session that may see it.
    """

    state: StateFilter = "live"
    name: str | None = None
    session: str | None = None

    def filter(self) -> ProcessFilter:
        """What a store can tell of it. Names are looked at here: a label is as good as a function."""
        status: StatusFilter = "live"
        if self.state in {"retired", "any", *RETIRED}:
            status = cast("StatusFilter", self.state)
        return ProcessFilter(
            status=status,
            observed_by=self.session,
            parked=True if self.state == "parked" else None,
        )

    def names(self, record: ProcessRecord) -> bool:
        """Whether a process has the name that was asked for."""
        identity = record.registration.identity
        return self.name is None or self.name in {identity.definition, identity.label}

    def shows(self, process: Standing) -> bool:
        """Whether a process of that name, which the store's filter lets through, is to be shown."""
        return self.state in GROUPS or self.state == process.state

    async def admits(self, store: Store, record: ProcessRecord) -> bool:
        """Whether a process that changed just now has the name, and passes the store's filter."""
        if not self.names(record):
            return False
        observed = self.session is not None and self.session in await store.observers_of(
            record.process_id
        )
        return matches(record, self.filter(), observed=observed)


def _any(record: ProcessRecord) -> bool:
    del record
    return True


async def processes_of(
    store: Store, wanted: ProcessFilter, names: Callable[[ProcessRecord], bool] = _any
) -> AsyncIterator[Known]:
    """The processes that a filter lets through, and that have the right name, by id."""
    after = ""
    while True:
        page = await store.list_processes(wanted, after=after, limit=_PAGE)
        for record in filter(names, page):
            yield await known(store, record)
        if len(page) < _PAGE:
            return
        after = page[-1].process_id


async def shown(store: Store, wanted: Wanted, now_ms: int) -> list[Standing]:
    """The processes that are to be shown, by id."""
    lives = Owners(store, now_ms).live
    named = processes_of(store, wanted.filter(), wanted.names)
    found = [standing(process, lives, now_ms) async for process in named]
    return [process for process in found if wanted.shows(process)]
