"""Which processes a worker takes up, by their rows alone (process spec 5.3, 5.4)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from lash.processes.model import ProcessRecord
from lash.processes.running import runnable_at

#: Why a process was not admitted: another live worker runs it, it waits for a person, or for code that
#: is not here, it rests after an attempt that got nowhere, it was begun and is never begun again, it is
#: somebody else's, it has ended, or it is being run here already.
Disposition: TypeAlias = Literal[
    "busy",
    "parked",
    "code_missing",
    "resting",
    "owner_bound",
    "externally_owned",
    "settled",
    "running",
]


@dataclass(frozen=True, slots=True)
class AdmissionReport:
    """What one look through the store found. Admitting is not completing.

    Attributes:
        admitted: The processes that are to be run here.
        deferred: Those that are not, and why.
    """

    admitted: tuple[str, ...] = ()
    deferred: tuple[tuple[str, Disposition], ...] = ()


def disposition(  # noqa: PLR0911  a case per disposition
    record: ProcessRecord,
    *,
    now_ms: int,
    running: bool,
    busy: bool,
    dead: bool,
    parked_too: bool,
    has_code: Callable[[], bool],
) -> Disposition | None:
    """Why a process is not to be begun, if it is not.

    Args:
        record: The process.
        now_ms: The time.
        running: It is being run here.
        busy: Another owner who may be alive runs it.
        dead: Who ran it is proven dead.
        parked_too: What waits for a person is tried.
        has_code: Whether its code is here; asked last.
    """
    due, state = runnable_at(record), record.state
    if running:
        return "running"
    if record.retired:
        return "settled"
    bound = record.registration.disposition == "owner_bound"
    if due is None:
        return "owner_bound" if bound else "externally_owned"
    if busy:
        return "busy"
    if state.abandon_request is not None:
        return None  # it only has to end, and needs no code for that
    if bound and state.first_started is not None:
        return None if dead else "owner_bound"
    if due > now_ms:
        return "resting"
    if state.parked is not None and state.parked.waits_for == "person" and not parked_too:
        return "parked"
    return None if has_code() else "code_missing"
