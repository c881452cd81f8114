"""Answering from outside: by the key in any form, from any process, once and for ever."""

import json
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import pytest

import lash
from lash.core.scopes import ProcessScope
from lash.effects.waits.model import (
    AlreadyResolved,
    AwaitEventKey,
    ExternalCompletionError,
    ProcessSignalWait,
    ResolveAccepted,
    ResolvedCancelled,
    ResolvedErr,
    ResolvedOk,
    UnknownOrRevoked,
)


@pytest.fixture(params=["durable", "ephemeral"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str | Path:
    return ":memory:" if request.param == "ephemeral" else tmp_path / "agents.db"


async def key_of(runtime: lash.Runtime, name: str = "approved") -> AwaitEventKey:
    async with runtime.operation("o") as op:
        return await op.key(name)


Given: TypeAlias = AwaitEventKey | str


def as_it_is(key: AwaitEventKey) -> Given:
    return key


def as_token(key: AwaitEventKey) -> Given:
    return key.token


def as_json(key: AwaitEventKey) -> Given:
    return msgspec.json.encode(key).decode()


def as_json_of_somebody_elses(key: AwaitEventKey) -> Given:
    """Other order, other spacing, a field of their own: it passed through their systems."""
    fields = {**json.loads(msgspec.json.encode(key)), "received": 7}
    return "  " + json.dumps(dict(reversed(fields.items())), indent=2) + "\n"


FORMS = [as_it_is, as_token, as_json, as_json_of_somebody_elses, lambda key: f"\n{key.token} "]


@pytest.mark.parametrize("form", FORMS)
async def test_a_key_is_known_in_every_form(location: str | Path, form: Any) -> None:
    async with lash.Runtime(location) as runtime:
        key = await key_of(runtime)
        given = form(key)
        assert await runtime.completions.peek(given) is None
        assert await runtime.completions.resolve(given, {"by": "ana"}) == ResolveAccepted()
        assert await runtime.completions.peek(given) == ResolvedOk(payload={"by": "ana"})
        async with runtime.operation("o") as op:
            assert await op.wait("approved") == {"by": "ana"}


async def test_another_process_answers(tmp_path: Path) -> None:
    path = tmp_path / "agents.db"
    async with lash.Runtime(path) as runtime:
        token = (await key_of(runtime)).token
    async with lash.Runtime(path) as runtime:
        assert await runtime.completions.resolve(token, 7) == ResolveAccepted()
    async with lash.Runtime(path) as runtime, runtime.operation("o") as op:
        assert await op.wait("approved") == 7


async def test_the_first_answer_stands(location: str | Path) -> None:
    async with lash.Runtime(location) as runtime:
        answers, key = runtime.completions, await key_of(runtime)
        assert await answers.cancel(key) == ResolveAccepted()
        stands = AlreadyResolved(terminal=ResolvedCancelled())
        assert await answers.resolve(key, "late") == stands
        assert await answers.fail(key, "later") == stands
        assert await answers.cancel(key) == stands


async def test_nothing_is_an_answer(location: str | Path) -> None:
    async with lash.Runtime(location) as runtime:
        key = await key_of(runtime)
        assert await runtime.completions.resolve(key) == ResolveAccepted()
        assert await runtime.completions.peek(key) == ResolvedOk(payload=None)


def forged(**changes: Any) -> Any:
    return lambda key: msgspec.structs.replace(key, **changes)


#: An ordinal that no key can hold; it must not matter how a number is packed.
ENDLESS = ProcessSignalWait(process_id="p", signal_name="s", ordinal=2**64)


@pytest.mark.parametrize(
    "garble",
    [
        forged(signature="0" * 64),
        forged(signature=""),
        forged(signature="\ud800"),
        forged(key_id="await-event:v3:sha256:" + "0" * 64),
        forged(scope=ProcessScope(process_id="p")),
        forged(scope=ProcessScope(process_id=" ")),
        forged(wait=ENDLESS),
        lambda key: key.token[:-4],
        lambda key: key.token + "é",
        lambda key: key.token.removeprefix("lash-key-"),
        lambda key: "lash-key-" + "A" * 9_999,
        lambda key: str(as_json(key))[:-1],
        lambda key: '{"scope":' + "[" * 100_000,
        lambda key: '{"theirs":' + "[" * 100_000,
        lambda key: key.key_id,
        lambda key: "",
        lambda key: "null",
        lambda key: "bro\ud800ken",
        lambda key: None,
        lambda key: 7,
        lambda key: key.token.encode(),
        lambda key: {"key_id": key.key_id},
    ],
)
async def test_garbage_and_forgeries_get_one_answer(location: str | Path, garble: Any) -> None:
    async with lash.Runtime(location) as runtime:
        answers, key = runtime.completions, await key_of(runtime)
        given = garble(key)
        assert await answers.resolve(given, 7) == UnknownOrRevoked()
        assert await answers.fail(given, "no") == UnknownOrRevoked()
        assert await answers.cancel(given) == UnknownOrRevoked()
        with pytest.raises(lash.LashError) as raised:
            await answers.peek(given)
        assert raised.value.code == "await_event_unknown_or_revoked"
        assert key.signature not in str(raised.value)
        assert await answers.peek(key) is None


async def test_a_key_of_another_store_is_not_known(tmp_path: Path) -> None:
    async with lash.Runtime(tmp_path / "one.db") as one, lash.Runtime(tmp_path / "two.db") as two:
        assert await two.completions.resolve(await key_of(one), 7) == UnknownOrRevoked()


@pytest.mark.parametrize("value", [object(), {"a": {1: 2}}, float("nan"), "\ud800"])
async def test_an_answer_must_be_json(location: str | Path, value: object) -> None:
    async with lash.Runtime(location) as runtime:
        answers, key = runtime.completions, await key_of(runtime)
        for answer in (answers.resolve(key, value), answers.fail(key, "no", raw=value)):
            with pytest.raises(lash.LashError) as raised:
                await answer
            assert raised.value.code == "value_not_json"
        assert await answers.peek(key) is None


async def test_an_answer_is_kept_as_json_keeps_it(location: str | Path) -> None:
    async with lash.Runtime(location) as runtime:
        key = await key_of(runtime)
        await runtime.completions.resolve(key, {"pair": (1, 2), "names": {"b", "a"}})
        assert await runtime.completions.peek(key) == ResolvedOk(
            payload={"pair": [1, 2], "names": ["a", "b"]}
        )


async def test_a_failure_is_kept_with_what_was_said(location: str | Path) -> None:
    async with lash.Runtime(location) as runtime:
        key = await key_of(runtime)
        await runtime.completions.fail(key, "declined", code="card", raw={"by": "bank"})
        error = ExternalCompletionError(code="card", message="declined", raw={"by": "bank"})
        assert await runtime.completions.peek(key) == ResolvedErr(payload=error)


async def test_a_failure_that_is_not_text_is_kept_as_text(location: str | Path) -> None:
    async with lash.Runtime(location) as runtime:
        key = await key_of(runtime)
        said: Any = ValueError("bro\ud800ken")
        code: Any = 404
        assert await runtime.completions.fail(key, said, code=code) == ResolveAccepted()
        async with runtime.operation("o") as op:
            with pytest.raises(lash.WaitError) as raised:
                await op.wait("approved")
    assert (raised.value.code, raised.value.message) == ("404", "bro\\ud800ken")


async def test_a_closed_runtime_answers_nobody(location: str | Path) -> None:
    async with lash.Runtime(location) as runtime:
        pass
    with pytest.raises(lash.LashError) as raised:
        await runtime.completions.resolve("lash-key-", 7)
    assert raised.value.code == "runtime_closed"
