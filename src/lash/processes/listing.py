"""Which processes are meant: filters, pages, the change feed and what is pruned (spec 1.12, 2.6, 10)."""

from typing import Literal, TypeAlias

from lash.core.json import Data
from lash.processes.model import (
    RETIRED,
    ProcessRecord,
    ProcessStatus,
    ProcessTombstone,
    originator_id,
)

StatusFilter: TypeAlias = ProcessStatus | Literal["live", "retired", "any"]


class ProcessFilter(Data):
    """All that is given must hold.

    Attributes:
        status: A status, or `live` (running or waiting), `retired`, `any`.
        definition: The code, by name.
        kind: The sort of process.
        label: What it is shown as.
        originator: Who is accountable; see `originator_id`.
        parent_id: Whose child it is.
        observed_by: A session that may see it.
        parked: Only what does not go on by itself.
        created_from_ms: Not before.
        created_to_ms: Before.
    """

    status: StatusFilter = "any"
    definition: str | None = None
    kind: str | None = None
    label: str | None = None
    originator: str | None = None
    parent_id: str | None = None
    observed_by: str | None = None
    parked: bool | None = None
    created_from_ms: int | None = None
    created_to_ms: int | None = None

    def statuses(self) -> frozenset[str] | None:
        """The statuses that are meant; None for all."""
        match self.status:
            case "any":
                return None
            case "live":
                return frozenset({"running", "waiting"})
            case "retired":
                return frozenset(RETIRED)
            case status:
                return frozenset({status})


def matches(record: ProcessRecord, wanted: ProcessFilter, *, observed: bool) -> bool:
    """Whether a process is meant. `observed` says whether the session asked about may see it."""
    registration, statuses = record.registration, wanted.statuses()
    identity, provenance = registration.identity, registration.provenance
    equal = (
        (wanted.definition, identity.definition),
        (wanted.kind, identity.kind),
        (wanted.label, identity.label),
        (wanted.originator, originator_id(provenance.originator)),
        (wanted.parent_id, provenance.parent_id),
    )
    start, end = wanted.created_from_ms, wanted.created_to_ms
    return (
        (statuses is None or record.status in statuses)
        and all(asked is None or asked == found for asked, found in equal)
        and (wanted.observed_by is None or observed)
        and (wanted.parked is None or wanted.parked == (record.state.parked is not None))
        and (start is None or record.created_at_ms >= start)
        and (end is None or record.created_at_ms < end)
    )


class Upserted(Data, tag_field="kind", tag="upsert"):
    """A process is new, or changed."""

    record: ProcessRecord


class Pruned(Data, tag_field="kind", tag="deleted"):
    """A process was pruned."""

    tombstone: ProcessTombstone


ProcessChange: TypeAlias = Upserted | Pruned


class ChangePage(Data):
    """A piece of the change feed: each process once, at its latest place.

    `cursor` is where to go on; the same again when nothing came.
    """

    changes: tuple[ProcessChange, ...]
    cursor: int


class LiveReference(Data):
    """How many live processes need a piece of code and an environment."""

    definition: str | None
    version: str | None
    env_ref: str | None
    count: int


class PruneRequest(Data):
    """Which ended processes are to be forgotten.

    Attributes:
        before_ms: Only what changed last before this.
        filter: Only what it means, besides; live processes never.
        through: Only what a projector has seen: changes up to this cursor. None says that there is no
            projector.
        limit: At most so many in one transaction.
    """

    before_ms: int
    filter: ProcessFilter = ProcessFilter(status="retired")
    through: int | None = None
    limit: int = 500


class PruneReport(Data):
    """What was forgotten. `kept_for_wakes` were not, because their wakes are not delivered yet."""

    processes: int = 0
    events: int = 0
    records: int = 0
    kept_for_wakes: int = 0
    more: bool = False
