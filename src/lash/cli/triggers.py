"""`lash triggers`: who subscribed to what, what occurred, and what came of it. Runs nothing."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.table import Table

from lash.cli.exit_codes import ExitCode
from lash.cli.json_output import write_json
from lash.cli.output import console, note, print_table
from lash.cli.reading import now_ms, reading
from lash.cli.wording import ago, one_line, printable
from lash.stores.sqlite import SqliteStore
from lash.triggers.listing import DeliveryFilter, OccurrenceFilter, SubscriptionFilter
from lash.triggers.model import (
    Delivery,
    Occurrence,
    ProcessTarget,
    Subscription,
    SubscriptionDraft,
    namespace,
)

What = Literal["list", "occurrences", "deliveries"]

#: How many occurrences and deliveries are shown.
_MOST = 1000


@dataclass(frozen=True, slots=True)
class TriggersRequest:
    """What the command line asked for; None where it said nothing."""

    what: What
    event: str | None
    everything: bool
    db: str
    as_json: bool


def triggers(request: TriggersRequest) -> int:
    """Show triggers."""
    match request.what:
        case "list":
            found, stuck = asyncio.run(_subscriptions(request))
            return _show_subscriptions(request, found, stuck)
        case "occurrences":
            return _show_occurrences(request, asyncio.run(_occurrences(request)))
        case "deliveries":
            return _show_deliveries(request, asyncio.run(_deliveries(request)))


# --- reading ------------------------------------------------------------------------------------------


async def _subscriptions(request: TriggersRequest) -> tuple[Sequence[Subscription], int]:
    """Subscriptions, and how many deliveries could not be started."""
    wanted = SubscriptionFilter(event=request.event, deleted=request.everything)
    async with reading(request.db) as store:
        failed = await store.triggers.list_deliveries(DeliveryFilter(state="failed"))
        return await store.triggers.list_subscriptions(wanted), len(failed)


async def _occurrences(request: TriggersRequest) -> Sequence[Occurrence]:
    wanted = OccurrenceFilter(event=request.event)
    async with reading(request.db) as store:
        return await store.triggers.list_occurrences(wanted, limit=_MOST, newest=True)


async def _deliveries(request: TriggersRequest) -> Sequence[Delivery]:
    async with reading(request.db) as store:
        found = [
            each
            for each in await _every_delivery(store, request)
            if request.event in {None, each.occurrence.event}
        ]
    return sorted(found, key=lambda each: (each.created_at_ms, each.subscription.place))[-_MOST:]


async def _every_delivery(store: SqliteStore, request: TriggersRequest) -> Sequence[Delivery]:
    """What was not started; with everything, what was, too."""
    found: list[Delivery] = []
    wanted: list[DeliveryFilter] = [
        DeliveryFilter(state="reserved"),
        DeliveryFilter(state="failed"),
    ]
    for each in [DeliveryFilter()] if request.everything else wanted:
        after = ""
        while page := await store.triggers.list_deliveries(each, after=after):
            found += page
            after = page[-1].delivery_id
    return found


# --- for programs -------------------------------------------------------------------------------------


def subscription_json(record: Subscription) -> dict[str, object]:
    """A subscription as JSON commands tell it."""
    draft = record.draft
    return {
        "subscription_id": record.subscription_id,
        "owner": namespace(record.owner),
        "key": record.key,
        "name": draft.name,
        "event": draft.event,
        "source": draft.source,
        "target": _target_json(draft),
        "enabled": record.enabled,
        "membership": record.membership,
        "deleted_at_ms": record.deleted_at_ms,
        "revision": record.revision,
        "incarnation": record.incarnation,
        "created_at_ms": record.created_at_ms,
        "updated_at_ms": record.updated_at_ms,
    }


def _target_json(draft: SubscriptionDraft) -> dict[str, object]:
    """What is started, without arguments and prompts."""
    target = draft.target
    if isinstance(target, ProcessTarget):
        return {"type": "process", "name": target.name, "version": target.version}
    return {"type": "session", "name": target.agent_name, "version": target.agent_version}


def occurrence_json(record: Occurrence) -> dict[str, object]:
    """An occurrence as JSON commands tell it. What it says is no part of it."""
    return {
        "occurrence_id": record.occurrence_id,
        "event": record.event,
        "key": record.key,
        "source": record.source,
        "occurred_at_ms": record.occurred_at_ms,
    }


def delivery_json(record: Delivery) -> dict[str, object]:
    """A delivery as JSON commands tell it."""
    failure = record.failure
    return {
        "delivery_id": record.delivery_id,
        "occurrence_id": record.occurrence.occurrence_id,
        "event": record.occurrence.event,
        "key": record.occurrence.key,
        "subscription_id": record.subscription.subscription_id,
        "owner": namespace(record.subscription.owner),
        "subscription": record.subscription.key,
        "revision": record.subscription.revision,
        "process_id": record.process_id,
        "state": record.state,
        "code": None if failure is None else failure.code,
        "message": None if failure is None else failure.message,
        "created_at_ms": record.created_at_ms,
        "settled_at_ms": record.settled_at_ms,
    }


# --- for people ---------------------------------------------------------------------------------------


def _show_subscriptions(request: TriggersRequest, found: Sequence[Subscription], stuck: int) -> int:
    if request.as_json:
        write_json([subscription_json(each) for each in found])
        return ExitCode.DONE
    if not found:
        return _nothing(f"{request.db} holds no subscriptions{_asked(request)}.")
    now = now_ms()
    table = _table("key", "owner", "event", "starts", "state", "rev", "changed")
    for each in found:
        table.add_row(
            printable(each.key),
            printable(namespace(each.owner)),
            printable(each.draft.event),
            one_line(_target_text(each.draft)),
            _state_text(each),
            str(each.revision),
            ago(each.updated_at_ms, now),
        )
    print_table(console(), table)
    if stuck:
        what = "1 delivery" if stuck == 1 else f"{stuck} deliveries"
        note(f"{what} could not be started; `lash triggers deliveries` says why.")
    return ExitCode.DONE


def _show_occurrences(request: TriggersRequest, found: Sequence[Occurrence]) -> int:
    if request.as_json:
        write_json([occurrence_json(each) for each in found])
        return ExitCode.DONE
    if not found:
        return _nothing(f"{request.db} holds no such occurrences{_asked(request)}.")
    now = now_ms()
    table = _table("event", "key", "occurred")
    for each in found:
        table.add_row(printable(each.event), printable(each.key), ago(each.occurred_at_ms, now))
    print_table(console(), table)
    return ExitCode.DONE


def _show_deliveries(request: TriggersRequest, found: Sequence[Delivery]) -> int:
    if request.as_json:
        write_json([delivery_json(each) for each in found])
        return ExitCode.DONE
    if not found:
        which = "" if request.everything else " that were not started"
        return _nothing(f"{request.db} holds no deliveries{_asked(request)}{which}.")
    now = now_ms()
    table = _table("event", "key", "subscription", "starts", "state", "reserved", "why not")
    for each in found:
        failure = "" if each.failure is None else f"{each.failure.code}: {each.failure.message}"
        table.add_row(
            printable(each.occurrence.event),
            printable(each.occurrence.key),
            printable(each.subscription.key),
            one_line(_target_text(each.subscription.draft)),
            each.state,
            ago(each.created_at_ms, now),
            one_line(failure),
        )
    print_table(console(), table)
    return ExitCode.DONE


def _state_text(record: Subscription) -> str:
    """How a subscription stands; also whether what its owner declares has it no more."""
    if record.deleted:
        return "deleted"
    state = "enabled" if record.enabled else "disabled"
    return f"{state}, orphaned" if record.membership == "orphaned" else state


def _target_text(draft: SubscriptionDraft) -> str:
    target = draft.target
    if isinstance(target, ProcessTarget):
        return f"process {target.name} v{target.version}"
    return f"session {target.session} ({target.agent_name})"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        if name in {"state", "rev", "changed", "occurred", "reserved"}:
            table.add_column(name, no_wrap=True)
        else:
            table.add_column(name, overflow="fold", min_width=8)
    return table


def _asked(request: TriggersRequest) -> str:
    """What was asked for, so that what is there of other events is not denied."""
    return "" if request.event is None else f" of event {request.event}"


def _nothing(said: str) -> int:
    sys.stdout.write(printable(f"{said}\n"))
    return ExitCode.DONE
