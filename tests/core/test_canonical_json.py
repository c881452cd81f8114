"""Canonical JSON, the digests made of it, and the edge at which foreign values become JSON."""

import dataclasses
import enum
import hashlib
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TypedDict
from uuid import UUID

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lash.core.errors import LashError
from lash.core.json import Data, canonical, digest, digest_bytes, encode, to_json

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    label: object = None


class Order(TypedDict):
    id: int


class Customer(pydantic.BaseModel):
    name: str
    since: date
    extra: dict[str, float] = {}


class Struct(Data):
    name: str
    note: str | None = None
    inner: object = None


# --- the canonical form ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (1, "1"),
        (1.0, "1.0"),
        (0.1, "0.1"),
        (2**80, "1208925819614629174706176"),
        ("ä\n\u2028", '"ä\\n\u2028"'),
        ([], "[]"),
        ({"b": 1, "a": {"d": 2, "c": 3}}, '{"a":{"c":3,"d":2},"b":1}'),
        ({"é": 1, "z": 2}, '{"z":2,"é":1}'),
        ((1, (2, 3)), "[1,[2,3]]"),
        ({3, 1, 2}, "[1,2,3]"),
        (frozenset({"b", "a"}), '["a","b"]'),
        (Struct(name="n"), '{"name":"n"}'),
        (Struct(name="n", note="m"), '{"name":"n","note":"m"}'),
        ([Colour.RED], '["red"]'),
    ],
)
def test_a_value_has_exactly_this_canonical_form(value: object, text: str) -> None:
    assert canonical(value).decode() == text


@given(json_values)
def test_reading_canonical_json_and_writing_it_again_changes_no_byte(value: object) -> None:
    once = canonical(value)
    assert canonical(msgspec.json.decode(once)) == once
    assert canonical(json.loads(once)) == once


@given(json_values)
def test_canonical_json_is_json_and_keeps_the_value(value: object) -> None:
    # NaN is the one JSON-like value unequal to itself, and it is not generated.
    assert json.loads(canonical(value)) == value


@given(st.dictionaries(st.text(), st.integers(), max_size=8), st.randoms())
def test_the_order_in_which_keys_were_added_does_not_show(
    value: dict[str, int], random: object
) -> None:
    items = list(value.items())
    getattr(random, "shuffle")(items)  # noqa: B009  hypothesis types its random loosely
    assert canonical(dict(items)) == canonical(value)


def test_a_set_has_the_same_bytes_in_every_run() -> None:
    program = (
        "from lash.core.json import canonical, to_json;"
        "names = {f'name{i}' for i in range(40)};"
        "print(canonical({'a': names}).decode(), to_json(names))"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(runs) == 1


def test_a_field_added_with_a_default_leaves_older_bytes_alone() -> None:
    class Older(Data):
        name: str

    class Newer(Data):
        name: str
        added: int = 0

    assert canonical(Older(name="n")) == canonical(Newer(name="n")) == b'{"name":"n"}'


def test_encode_agrees_with_canonical_on_plain_values() -> None:
    assert encode({"b": 1, "a": [None, 2.5]}) == b'{"a":[null,2.5],"b":1}'


# --- what JSON cannot carry -----------------------------------------------------------------------


def circular() -> list[object]:
    value: list[object] = []
    value.append(value)
    return value


def nested(depth: int) -> object:
    value: object = 0
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("convert", [canonical, to_json])
@pytest.mark.parametrize(
    ("value", "path"),
    [
        (math.nan, "$"),
        ({"a": [1, math.inf]}, "$.a[1]"),
        ([{"deep": {"er": -math.inf}}], "$[0].deep.er"),
        (Struct(name="n", inner={"x": math.nan}), "$.inner.x"),
        ({"a": {1: "b"}}, "$.a"),
        ({"a": {1: "b", "c": 2}}, "$.a"),
        ([{(1, 2): 3}], "$[0]"),
        ({"a": "\ud800"}, "$.a"),
        ({"a": {"\udfff": 1}}, "$.a"),
        ({"a": [1, {"b": object()}]}, "$.a[1].b"),
        ([Point(x=1, label=3 + 4j)], "$[0].label"),
        ((Struct(name="n", inner=[range(3)]),), "$[0].inner[0]"),
        ({"a": {1, "x"}}, "$.a"),
        ({"a": {Colour.RED, Colour.BLUE}}, "$.a"),
        (nested(5_000), "$"),
        (circular(), "$"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.startswith("$") else "",
)
def test_what_json_cannot_carry_is_refused_by_path(
    convert: Callable[[object], object], value: object, path: str
) -> None:
    with pytest.raises(LashError) as caught:
        convert(value)
    assert caught.value.code == "value_not_json"
    assert caught.value.details["path"] == path
    assert f"(at {path})" in caught.value.message


def test_a_refused_value_is_named_by_its_type() -> None:
    with pytest.raises(LashError, match="values of type complex have no JSON form"):
        to_json({"a": 1j})
    with pytest.raises(LashError, match="the key 1 is of type int, not a string"):
        to_json({1: "a"})


# --- from user code to JSON -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Point(x=1, label=[Point(x=2)]), {"x": 1, "label": [{"x": 2, "label": None}]}),
        (Order(id=7), {"id": 7}),
        (
            Customer(name="Ada", since=date(2020, 2, 29)),
            {"name": "Ada", "since": "2020-02-29", "extra": {}},
        ),
        (
            {"all": [Customer(name="Ada", since=date(2020, 2, 29))]},
            {"all": [{"name": "Ada", "since": "2020-02-29", "extra": {}}]},
        ),
        (Struct(name="n"), {"name": "n"}),
        (Colour.RED, "red"),
        (datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC), "2020-01-02T03:04:05Z"),
        (timedelta(seconds=90), "PT90S"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Decimal("1.50"), "1.50"),
        (b"abc", "YWJj"),
        ((1, {2}), [1, [2]]),
        ({"b", "a"}, ["a", "b"]),
    ],
)
def test_values_of_user_code_become_exactly_this_json(value: object, plain: object) -> None:
    assert to_json(value) == plain


def test_a_model_that_holds_nan_is_refused_by_path() -> None:
    customer = Customer(name="Ada", since=date(2020, 1, 1), extra={"score": math.nan})
    with pytest.raises(LashError) as caught:
        to_json({"customer": customer})
    assert caught.value.details["path"] == "$.customer.extra.score"


@given(json_values)
def test_plain_json_passes_unchanged(value: object) -> None:
    assert to_json(value) == value


def test_the_first_run_sees_what_a_replay_will_read_back() -> None:
    value = {"pair": (1, 2.0), "points": [Point(x=1, label=("a",))]}
    live = to_json(value)
    assert live == {"pair": [1, 2.0], "points": [{"x": 1, "label": ["a"]}]}
    assert live == json.loads(canonical(value))


# --- digests --------------------------------------------------------------------------------------


def test_a_digest_is_this_hash_of_family_version_and_canonical_json() -> None:
    by_hand = hashlib.sha256(b'llm_call:v1\0{"a":1,"b":[true,null]}').hexdigest()
    assert digest("llm_call", {"b": [True, None], "a": 1}) == f"llm_call:v1:sha256:{by_hand}"


#: Computed outside lash: printf 'lash:v1\0"lash"' | sha256sum
PINNED = "lash:v1:sha256:19bc67d50064608b366c213aefd7fa451013462c929d84698d71c2b3d476b937"


def test_a_digest_is_compatibility_data() -> None:
    assert digest("lash", "lash") == PINNED


def test_families_and_versions_never_share_a_digest() -> None:
    hashes = {
        value.rsplit(":", 1)[1]
        for value in (
            digest("a", 1),
            digest("b", 1),
            digest("a", 1, version=2),
            digest("a:v1", 1),
            digest_bytes("a", b"1 "),
        )
    }
    assert len(hashes) == 5


def test_a_digest_says_its_family_and_version() -> None:
    assert digest("journal", [], version=3).startswith("journal:v3:sha256:")


@given(json_values, json_values)
def test_digests_agree_exactly_when_the_canonical_bytes_do(one: object, other: object) -> None:
    assert (digest("x", one) == digest("x", other)) == (canonical(one) == canonical(other))
