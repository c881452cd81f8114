"""What is done to a process once it is registered, and what may come of it (process spec, section 2).

Each is one transaction. What a running process does presents its fence; whoever lost the lease is told
so and nothing is written.
"""

from typing import Literal, TypeAlias

import msgspec

from lash.core.json import Data, JsonObject, JsonValue
from lash.core.leases import Fence, Lease, LeaseClaim
from lash.effects.journal import JournalRecord
from lash.processes.events import ProcessEvent
from lash.processes.model import (
    AbandonRequest,
    ExternalRef,
    ProcessParked,
    ProcessRecord,
    ProcessRetry,
    ProcessSegment,
    ProcessTombstone,
    WaitState,
)
from lash.processes.outcomes import AbandonWriter, CompletionAuthority, ProcessAwaitOutput

# --- what is asked ------------------------------------------------------------------------------------


class AppendEvent(Data, tag_field="write", tag="append"):
    """Append an event. With a replay key it is appended once; `fence` is given by the running process."""

    event_type: str
    payload: JsonValue = None
    replay_key: str | None = None
    fence: Fence | None = None


class ClaimRun(Data, tag_field="write", tag="claim"):
    """Take the lease to run it, and count the attempt. Whoever asks can run it: that was seen to before.

    `parked_too` tries what needs a person: the code may be another one now.
    """

    claim: LeaseClaim
    parked_too: bool = False


class ReleaseRun(Data, tag_field="write", tag="release"):
    """Give the lease back; with `retry`, because the attempt got nowhere."""

    fence: Fence
    retry: ProcessRetry | None = None


class ParkRun(Data, tag_field="write", tag="park"):
    """Say why it does not go on by itself, and give the lease back.

    Without a fence: said by somebody who lacks its code, unless anybody runs it or said so before.
    """

    parked: ProcessParked
    fence: Fence | None = None


class MarkWait(Data, tag_field="write", tag="wait"):
    """All of it that runs begins to wait. Waiting for the same again, it has waited since the first."""

    fence: Fence
    wait: WaitState


class ClearWait(Data, tag_field="write", tag="resume"):
    """It no longer waits."""

    fence: Fence


class CompleteRun(Data, tag_field="write", tag="complete"):
    """It came to its end: terminal event, journal and lease in one transaction.

    Attributes:
        fence: The runner's proof.
        outcome: How it ended.
        records: What waited for the scope's next transaction.
        scope_key: The scope that is finished with it.
    """

    fence: Fence
    outcome: ProcessAwaitOutput
    records: tuple[JournalRecord, ...] = ()
    scope_key: str = ""


class CompleteByAuthority(Data, tag_field="write", tag="complete_by_authority"):
    """Somebody who does not run it says how it ended, by a right that is checked against the row."""

    outcome: ProcessAwaitOutput
    authority: CompletionAuthority


class AbandonRun(Data, tag_field="write", tag="abandon"):
    """Take the lease to give it up for ever: an owner that shuts down, or one who was asked to."""

    claim: LeaseClaim
    writer: AbandonWriter


class ContinueRun(Data, tag_field="write", tag="continue"):
    """Go on as new: another segment with a journal of its own; the lease is kept."""

    fence: Fence
    segment: ProcessSegment
    records: tuple[JournalRecord, ...] = ()
    scope_key: str = ""


class SetExternalRef(Data, tag_field="write", tag="external_ref"):
    """Say where the work is really done. Written once."""

    external_ref: ExternalRef


class RequestAbandon(Data, tag_field="write", tag="request_abandon"):
    """Give it up, as soon as nobody runs it any more. The first request stands."""

    request: AbandonRequest


class RetargetWakes(Data, tag_field="write", tag="retarget"):
    """Send its wakes to another session, or nowhere. What waits for the old one is discarded."""

    session_id: str | None = None


class ChangeObservers(Data, tag_field="write", tag="observers"):
    """Let sessions see it, or no longer."""

    by: str
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


ProcessWrite: TypeAlias = (
    AppendEvent
    | ClaimRun
    | ReleaseRun
    | ParkRun
    | MarkWait
    | ClearWait
    | CompleteRun
    | CompleteByAuthority
    | AbandonRun
    | ContinueRun
    | SetExternalRef
    | RequestAbandon
    | RetargetWakes
    | ChangeObservers
)

# --- what comes of it ---------------------------------------------------------------------------------


class Written(Data, tag_field="status", tag="written"):
    """It stands.

    Attributes:
        record: The process as it is now.
        event: What was appended.
        lease: What was taken.
        wakes: A session is to be woken.
    """

    record: ProcessRecord
    event: ProcessEvent | None = None
    lease: Lease | None = None
    wakes: bool = False


class AlreadyApplied(Data, tag_field="status", tag="already_applied"):
    """It stood before; nothing was written."""

    record: ProcessRecord
    event: ProcessEvent | None = None


class Superseded(Data, tag_field="status", tag="superseded"):
    """The process came to its end before, in another way; nothing was written."""

    record: ProcessRecord


class FenceLost(Data, tag_field="status", tag="fence_lost"):
    """The writer does not run the process any more; nothing was written."""


class RunBusy(Data, tag_field="status", tag="busy"):
    """Somebody else runs the process and may be alive; nothing was written."""

    holder: Lease


#: Why a process cannot be begun: it ended; it is somebody else's; it was begun and is never begun again;
#: it waits for a person or for code; it rests after an attempt that got nowhere.
NotRunnable: TypeAlias = Literal["retired", "externally_owned", "owner_bound", "parked", "resting"]


class RunRefused(Data, tag_field="status", tag="run_refused"):
    """The process is not to be begun now; nothing was written."""

    record: ProcessRecord
    why: NotRunnable


class WriteRefused(Data, tag_field="status", tag="refused"):
    """It cannot be done; nothing was written. `code` and `message` are an error's."""

    code: str
    message: str
    details: JsonObject = msgspec.field(default_factory=dict)


class ProcessUnknown(Data, tag_field="status", tag="unknown"):
    """No process of that id was ever registered."""


WriteResult: TypeAlias = (
    Written
    | AlreadyApplied
    | Superseded
    | FenceLost
    | RunBusy
    | RunRefused
    | WriteRefused
    | ProcessUnknown
    | ProcessTombstone
)
