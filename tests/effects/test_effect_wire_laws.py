"""What is written is read back as it was, whatever it is; written again, it has the same bytes."""

import msgspec
from effect_samples import envelope
from effect_strategies import values_of
from hypothesis import HealthCheck, given, settings

from lash.core.json import canonical, encode
from lash.effects.commands import EffectCommand, command_kind
from lash.effects.digest import Digester
from lash.effects.envelope import RuntimeEffectEnvelope
from lash.effects.outcomes import EffectOutcome
from lash.effects.waits.model import AwaitEventKey, Resolution, ResolveOutcome

_COMMAND: msgspec.json.Decoder[EffectCommand] = msgspec.json.Decoder(EffectCommand)
_OUTCOME: msgspec.json.Decoder[EffectOutcome] = msgspec.json.Decoder(EffectOutcome)
_ENVELOPE = msgspec.json.Decoder(RuntimeEffectEnvelope)
_KEY = msgspec.json.Decoder(AwaitEventKey)
_RESOLUTION: msgspec.json.Decoder[Resolution] = msgspec.json.Decoder(Resolution)
_ANSWER: msgspec.json.Decoder[ResolveOutcome] = msgspec.json.Decoder(ResolveOutcome)

# Commands are deep, and most of drawing one is drawing what is inside.
_deep = settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@_deep
@given(values_of(EffectCommand))
def test_a_command_comes_back_from_its_bytes(command: EffectCommand) -> None:
    wire = canonical(command)
    read = _COMMAND.decode(wire)
    assert read == command
    assert canonical(read) == wire
    assert encode(command) == wire


@_deep
@given(values_of(EffectOutcome))
def test_an_outcome_comes_back_from_its_bytes(outcome: EffectOutcome) -> None:
    wire = canonical(outcome)
    read = _OUTCOME.decode(wire)
    assert read == outcome
    assert canonical(read) == wire
    assert encode(outcome) == wire


@settings(deadline=None)
@given(values_of(AwaitEventKey), values_of(Resolution), values_of(ResolveOutcome))
def test_what_travels_about_waits_comes_back_from_its_bytes(
    key: AwaitEventKey, resolution: Resolution, answer: ResolveOutcome
) -> None:
    assert _KEY.decode(canonical(key)) == key
    assert _RESOLUTION.decode(canonical(resolution)) == resolution
    assert _ANSWER.decode(canonical(answer)) == answer


@_deep
@given(values_of(EffectCommand))
def test_a_command_that_was_stored_asks_for_the_same(command: EffectCommand) -> None:
    """A machine that reads its command back is compared with the one that recorded it."""
    read = _COMMAND.decode(canonical(command))
    asked = Digester().digest(command)
    assert Digester().digest(read) == asked
    assert asked.kind == command_kind(command)


def test_an_envelope_has_exactly_this_wire_form() -> None:
    made = envelope(_COMMAND.decode('{"duration_ms":5,"type":"sleep"}'), "e7")
    wire = (
        '{"command":{"duration_ms":5,"type":"sleep"},'
        '"invocation":{"replay":{"key":"e7"},"scope":{"session_id":"s","turn_id":"t1"},'
        '"subject":{"effect_id":"1","kind":"sleep","type":"effect"}}}'
    )
    assert canonical(made).decode() == wire
    assert _ENVELOPE.decode(wire) == made
