"""Webhooks: what a request says becomes an event once, and only when its sender knows the secret."""

import hashlib
import hmac

import pytest

import lash
from lash.contrib.webhooks import Webhook

PUSH = lash.TriggerEvent("push", payload={"type": "object", "required": ["ref"]})
BODY = b'{"ref": "main"}'


async def code_of(awaited: object) -> str:
    with pytest.raises(lash.LashError) as raised:
        await awaited  # type: ignore[misc]  # a coroutine
    return raised.value.code


async def test_a_request_becomes_an_event_once() -> None:
    hook = Webhook(PUSH, id_header="X-Delivery")
    async with lash.Runtime(":memory:", triggers=[PUSH]) as runtime:
        headers = {"x-delivery": " d-1 ", "Content-Type": "application/json"}
        first = await hook.receive(runtime.triggers, headers, BODY)
        again = await hook.receive(runtime.triggers, {"X-DELIVERY": "d-1"}, BODY)
        assert (first.replayed, again.replayed) == (False, True)
        assert first.occurrence.payload == {"ref": "main"}
        assert first.occurrence.key == "webhook:push:id:d-1"
        other = hook.receive(runtime.triggers, {"X-Delivery": "d-1"}, b'{"ref": "other"}')
        assert await code_of(other) == "trigger_occurrence_conflict"
        second = await hook.receive(runtime.triggers, {"X-Delivery": "d-2"}, BODY)
        assert not second.replayed


async def test_without_an_id_the_same_body_is_the_same_delivery() -> None:
    hook = Webhook("push")
    async with lash.Runtime(":memory:", triggers=[PUSH]) as runtime:
        assert not (await hook.receive(runtime.triggers, {}, BODY)).replayed
        assert (await hook.receive(runtime.triggers, {}, BODY)).replayed
        assert not (await hook.receive(runtime.triggers, {}, b'{"ref": "x"}')).replayed


async def test_the_deliveries_of_one_sender_are_not_those_of_another() -> None:
    async with lash.Runtime(":memory:", triggers=[PUSH]) as runtime:
        for id_header in (None, "X-Delivery"):
            ana, ben = (Webhook(PUSH, source=who, id_header=id_header) for who in ("ana", "ben"))
            headers = {"X-Delivery": "1"}
            assert not (await ana.receive(runtime.triggers, headers, BODY)).replayed
            assert not (await ben.receive(runtime.triggers, headers, BODY)).replayed
            assert (await ana.receive(runtime.triggers, headers, BODY)).replayed


async def test_only_who_knows_the_secret_is_heard() -> None:
    hook = Webhook(PUSH, secret="secret", signature_header="X-Signature")
    signed = hmac.new(b"secret", BODY, hashlib.sha256).hexdigest()
    async with lash.Runtime(":memory:", triggers=[PUSH]) as runtime:
        receive = hook.receive
        for given in ("", signed[:-1], "sha256=", signed[::-1], "é" * 64, signed + "0"):
            told = receive(runtime.triggers, {"X-Signature": given}, BODY)
            assert await code_of(told) == "webhook_signature_invalid"
        assert await code_of(receive(runtime.triggers, {}, BODY)) == "webhook_signature_invalid"
        changed = receive(runtime.triggers, {"X-Signature": signed}, BODY + b" ")
        assert await code_of(changed) == "webhook_signature_invalid"
        assert list(await runtime.triggers.occurrences()) == []
        for given in (signed, f"sha256={signed}", signed.upper()):
            report = await receive(runtime.triggers, {"x-signature": given}, BODY)
            assert report.occurrence.event == "push"


def test_a_signature_is_the_one_that_senders_make() -> None:
    """The worked example of GitHub's documentation of its webhooks."""
    secret, body = "It's a Secret to Everybody", b"Hello, World!"
    wanted = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert hmac.new(secret.encode(), body, hashlib.sha256).hexdigest() == wanted
    hook = Webhook("push", secret=secret)
    hook._check_signature({"x-hub-signature-256": f"sha256={wanted}"}, body)


async def test_requests_that_cannot_be_taken_are_refused() -> None:
    async with lash.Runtime(":memory:", triggers=[PUSH]) as runtime:
        triggers = runtime.triggers
        for hook, body, code in (
            (Webhook(PUSH), b"not json", "webhook_body_invalid"),
            (Webhook(PUSH), b"\xff", "webhook_body_invalid"),
            (Webhook(PUSH, most_bytes=5), BODY, "webhook_body_invalid"),
            (Webhook(PUSH, id_header="X-Id"), BODY, "webhook_body_invalid"),
            (Webhook(PUSH), b"[]", "trigger_payload_invalid"),
            (Webhook("pull"), BODY, "trigger_event_unknown"),
        ):
            assert await code_of(hook.receive(triggers, {}, body)) == code
        assert list(await triggers.occurrences()) == []


def test_a_secret_is_neither_empty_nor_shown() -> None:
    with pytest.raises(lash.ConfigurationError) as raised:
        Webhook(PUSH, secret="")
    assert raised.value.code == "webhook_secret_blank"
    assert "hush" not in repr(Webhook(PUSH, secret="hush"))
