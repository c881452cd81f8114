"""What is asked of processes and triggers, and what comes of it, as it stands in journals and on wires."""

import msgspec
import pytest

from lash.core.json import canonical
from lash.effects.commands import (
    EffectCommand,
    ProcessEffectCommand,
    TriggerEffectCommand,
)
from lash.effects.outcomes import (
    EffectOutcome,
    ProcessOutcome,
    TriggerOutcome,
)
from lash.effects.process_commands import (
    AwaitProcess,
    CancelProcess,
    DeleteSessionProcesses,
    EmitProcessEvent,
    ListProcesses,
    ParentEnd,
    ParentEnded,
    ProcessAwaited,
    ProcessCancelled,
    ProcessCommand,
    ProcessEffectOutcome,
    ProcessesListed,
    ProcessesTransferred,
    ProcessEventEmitted,
    ProcessSignalled,
    ProcessStarted,
    SessionProcessesDeleted,
    SignalProcess,
    StartProcess,
    TransferProcesses,
)
from lash.effects.trigger_commands import (
    DeleteTrigger,
    DisableTrigger,
    EmittedDelivery,
    EmitTrigger,
    EnableTrigger,
    ListTriggers,
    PruneTriggers,
    RegisterTrigger,
    ReviveTrigger,
    TriggerCommand,
    TriggerConflict,
    TriggerEffectOutcome,
    TriggerEmission,
    TriggerEmitted,
    TriggerMutated,
    TriggersListed,
    TriggersPruned,
    UpdateTrigger,
)

_COMMAND: msgspec.json.Decoder[EffectCommand] = msgspec.json.Decoder(EffectCommand)
_OUTCOME: msgspec.json.Decoder[EffectOutcome] = msgspec.json.Decoder(EffectOutcome)

# --- process commands ---------------------------------------------------------------------------------

PROCESS_COMMANDS: list[tuple[ProcessCommand, str]] = [
    (
        StartProcess(
            process_id="p",
            registration={"kind": "python"},
            execution_context={"a": 1},
            observers=("s",),
            env_spec={"b": 2},
        ),
        (
            '{"env_spec":{"b":2},"execution_context":{"a":1},"observers":["s"],"op":"start",'
            '"process_id":"p","registration":{"kind":"python"}}'
        ),
    ),
    (
        StartProcess(process_id="p", registration={}),
        '{"op":"start","process_id":"p","registration":{}}',
    ),
    (ListProcesses(session_scope="s"), '{"op":"list","session_scope":"s"}'),
    (
        ListProcesses(session_scope="s", mode="all"),
        '{"mode":"all","op":"list","session_scope":"s"}',
    ),
    (
        TransferProcesses(from_scope="a", to_scope="b", process_ids=("p", "q")),
        '{"from_scope":"a","op":"transfer","process_ids":["p","q"],"to_scope":"b"}',
    ),
    (DeleteSessionProcesses(session_id="s"), '{"op":"delete_session","session_id":"s"}'),
    (AwaitProcess(process_id="p"), '{"op":"await","process_id":"p"}'),
    (CancelProcess(process_id="p"), '{"op":"cancel","process_id":"p"}'),
    (
        CancelProcess(process_id="p", reason="enough"),
        '{"op":"cancel","process_id":"p","reason":"enough"}',
    ),
    (
        SignalProcess(process_id="p", signal_name="approved", signal_id="1", request={"by": "ana"}),
        (
            '{"op":"signal","process_id":"p","request":{"by":"ana"},"signal_id":"1",'
            '"signal_name":"approved"}'
        ),
    ),
    (
        EmitProcessEvent(process_id="p", event_key="e", request={"n": 1}),
        '{"event_key":"e","op":"emit_event","process_id":"p","request":{"n":1}}',
    ),
    (
        ParentEnd(process_id="p", identity="i", policy="cancel", reason="done"),
        '{"identity":"i","op":"parent_end","policy":"cancel","process_id":"p","reason":"done"}',
    ),
]

PROCESS_OUTCOMES: list[tuple[ProcessEffectOutcome, str]] = [
    (ProcessStarted(record={"id": "p"}), '{"op":"start","record":{"id":"p"}}'),
    (ProcessesListed(entries=({"id": "p"},)), '{"entries":[{"id":"p"}],"op":"list"}'),
    (ProcessesTransferred(), '{"op":"transfer"}'),
    (SessionProcessesDeleted(report={"n": 2}), '{"op":"delete_session","report":{"n":2}}'),
    (ProcessAwaited(output={"status": "ok"}), '{"op":"await","output":{"status":"ok"}}'),
    (ProcessCancelled(record={"id": "p"}), '{"op":"cancel","record":{"id":"p"}}'),
    (ProcessSignalled(event={"n": 1}), '{"event":{"n":1},"op":"signal"}'),
    (
        ProcessEventEmitted(event={"n": 1}, wake_delivery={"w": 2}),
        '{"event":{"n":1},"op":"emit_event","wake_delivery":{"w":2}}',
    ),
    (ProcessEventEmitted(event={"n": 1}), '{"event":{"n":1},"op":"emit_event"}'),
    (ParentEnded(outcome={"did": "cancel"}), '{"op":"parent_end","outcome":{"did":"cancel"}}'),
]

_OPS = ["await", "cancel", "delete_session", "emit_event", "list", "parent_end", "signal"]
_OPS += ["start", "transfer"]


@pytest.mark.parametrize(("command", "wire"), PROCESS_COMMANDS)
def test_a_process_command_has_exactly_this_wire_form(command: ProcessCommand, wire: str) -> None:
    whole = f'{{"command":{wire},"type":"process"}}'
    assert canonical(ProcessEffectCommand(command=command)).decode() == whole
    assert _COMMAND.decode(whole) == ProcessEffectCommand(command=command)


@pytest.mark.parametrize(("outcome", "wire"), PROCESS_OUTCOMES)
def test_a_process_outcome_has_exactly_this_wire_form(
    outcome: ProcessEffectOutcome, wire: str
) -> None:
    whole = f'{{"result":{wire},"type":"process"}}'
    assert canonical(ProcessOutcome(result=outcome)).decode() == whole
    assert _OUTCOME.decode(whole) == ProcessOutcome(result=outcome)


def test_every_process_command_has_an_outcome_under_the_same_op() -> None:
    assert sorted({msgspec.json.decode(wire)["op"] for _, wire in PROCESS_COMMANDS}) == _OPS
    assert sorted({msgspec.json.decode(wire)["op"] for _, wire in PROCESS_OUTCOMES}) == _OPS


# --- trigger commands ---------------------------------------------------------------------------------

_OWNER = {"session_id": "s"}
_AT = '"expected_revision":3,'
_OF = '"owner_scope":{"session_id":"s"},"subscription_key":"k"'

TRIGGER_COMMANDS: list[tuple[TriggerCommand, str]] = [
    (
        RegisterTrigger(owner_scope=_OWNER, draft={"on": "mail"}),
        '{"draft":{"on":"mail"},"op":"register","owner_scope":{"session_id":"s"}}',
    ),
    (
        UpdateTrigger(
            owner_scope=_OWNER, subscription_key="k", draft={"on": "mail"}, expected_revision=3
        ),
        f'{{"draft":{{"on":"mail"}},{_AT}"op":"update",{_OF}}}',
    ),
    (
        EnableTrigger(owner_scope=_OWNER, subscription_key="k", expected_revision=3),
        f'{{{_AT}"op":"enable",{_OF}}}',
    ),
    (
        DisableTrigger(owner_scope=_OWNER, subscription_key="k", expected_revision=3),
        f'{{{_AT}"op":"disable",{_OF}}}',
    ),
    (
        DeleteTrigger(owner_scope=_OWNER, subscription_key="k", expected_revision=3),
        f'{{{_AT}"op":"delete",{_OF}}}',
    ),
    (
        ReviveTrigger(
            owner_scope=_OWNER, subscription_key="k", draft={"on": "mail"}, expected_revision=3
        ),
        f'{{"draft":{{"on":"mail"}},{_AT}"op":"revive",{_OF}}}',
    ),
    (
        PruneTriggers(owner_scope=_OWNER, subscription_keys=("k", "l")),
        '{"op":"prune","owner_scope":{"session_id":"s"},"subscription_keys":["k","l"]}',
    ),
    (
        EmitTrigger(event="paid", payload={"id": 7}, key="p-1", source="eu", session_id="s"),
        '{"event":"paid","key":"p-1","op":"emit","payload":{"id":7},"session_id":"s","source":"eu"}',
    ),
    (EmitTrigger(event="paid"), '{"event":"paid","op":"emit"}'),
    (
        DisableTrigger(owner_scope={}, subscription_key="k"),
        '{"op":"disable","owner_scope":{},"subscription_key":"k"}',
    ),
    (
        RegisterTrigger(owner_scope={}, draft={}, replaces=True),
        '{"draft":{},"op":"register","owner_scope":{},"replaces":true}',
    ),
    (ListTriggers(filter={"enabled": True}), '{"filter":{"enabled":true},"op":"list"}'),
]

TRIGGER_OUTCOMES: list[tuple[TriggerEffectOutcome, str]] = [
    (
        TriggerEmitted(
            emission=TriggerEmission(
                occurrence_id="o",
                event="paid",
                key="p-1",
                replayed=True,
                deliveries=(
                    EmittedDelivery(delivery_id="d", key="k", status="started", process_id="d"),
                    EmittedDelivery(delivery_id="e", key="l", status="failed", code="c"),
                ),
            )
        ),
        (
            '{"emission":{"deliveries":[{"delivery_id":"d","key":"k","process_id":"d","status":"started"},'
            '{"code":"c","delivery_id":"e","key":"l","status":"failed"}],"event":"paid","key":"p-1",'
            '"occurrence_id":"o","replayed":true},"type":"emission"}'
        ),
    ),
    (TriggerMutated(receipt={"r": 1}), '{"receipt":{"r":1},"type":"mutation"}'),
    (TriggersListed(records=({"k": 1},)), '{"records":[{"k":1}],"type":"list"}'),
    (TriggersPruned(receipts=({"r": 1},)), '{"receipts":[{"r":1}],"type":"prune"}'),
    (
        TriggerConflict(subscription_key="k", reason="moved on", existing_revision=4),
        '{"existing_revision":4,"reason":"moved on","subscription_key":"k","type":"conflict"}',
    ),
]


@pytest.mark.parametrize(("command", "wire"), TRIGGER_COMMANDS)
def test_a_trigger_command_has_exactly_this_wire_form(command: TriggerCommand, wire: str) -> None:
    whole = f'{{"command":{wire},"type":"trigger"}}'
    assert canonical(TriggerEffectCommand(command=command)).decode() == whole
    assert _COMMAND.decode(whole) == TriggerEffectCommand(command=command)


@pytest.mark.parametrize(("outcome", "wire"), TRIGGER_OUTCOMES)
def test_a_trigger_outcome_has_exactly_this_wire_form(
    outcome: TriggerEffectOutcome, wire: str
) -> None:
    whole = f'{{"result":{wire},"type":"trigger"}}'
    assert canonical(TriggerOutcome(result=outcome)).decode() == whole
    assert _OUTCOME.decode(whole) == TriggerOutcome(result=outcome)


def test_what_a_command_leaves_out_means_what_it_always_meant() -> None:
    """Values at their default are not written, so a default is as much stored data as a name."""
    start = _process('{"op":"start","process_id":"p","registration":{}}')
    assert isinstance(start, StartProcess)
    assert (start.execution_context, start.observers, start.env_spec) == (None, (), None)
    listing = _process('{"op":"list","session_scope":"s"}')
    assert isinstance(listing, ListProcesses)
    assert listing.mode == "live"
    cancel = _process('{"op":"cancel","process_id":"p"}')
    assert isinstance(cancel, CancelProcess)
    assert cancel.reason is None


def _process(wire: str) -> ProcessCommand:
    command = _COMMAND.decode(f'{{"command":{wire},"type":"process"}}')
    assert isinstance(command, ProcessEffectCommand)
    return command.command
