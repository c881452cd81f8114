"""For generated signatures: what fits is converted and comes back; what does not fit is refused."""

import dataclasses
import enum
import inspect
import json
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal, NamedTuple

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lash.core.errors import LashError
from lash.core.json import to_json
from lash.core.schema import CallSchema, call_schema


@dataclass(frozen=True)
class Kind:
    """An annotation, with JSON that fits it and JSON that does not."""

    annotation: Any
    fits: st.SearchStrategy[Any]
    misfits: st.SearchStrategy[Any]

    def __repr__(self) -> str:
        return str(self.annotation)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Pair(NamedTuple):
    left: int
    right: str


class Model(pydantic.BaseModel):
    amount: int
    label: str | None


@dataclasses.dataclass
class Plain:
    amount: int
    models: list[Model]


NUMBERS = st.integers(-(2**53), 2**53)
TEXTS = st.text(max_size=8)
OBJECTS = st.fixed_dictionaries({"unheard_of": st.booleans()})
NO_NUMBER = TEXTS | st.booleans() | st.none() | st.lists(NUMBERS, max_size=1) | OBJECTS
NO_TEXT = NUMBERS | st.booleans() | st.none() | st.lists(TEXTS, max_size=1) | OBJECTS
MODELS = st.fixed_dictionaries({"amount": NUMBERS, "label": st.none() | TEXTS})
NO_MODELS = st.fixed_dictionaries({"amount": NO_NUMBER, "label": TEXTS}) | OBJECTS | NO_NUMBER

LEAVES = st.sampled_from(
    [
        Kind(int, NUMBERS, NO_NUMBER | st.just(1.5)),
        Kind(float, NUMBERS | st.floats(allow_nan=False, allow_infinity=False), NO_NUMBER),
        Kind(str, TEXTS, NO_TEXT),
        Kind(bool, st.booleans(), NUMBERS | TEXTS | st.none()),
        Kind(Literal["a", "b", 3], st.sampled_from(["a", "b", 3]), st.sampled_from(["c", 4, None])),
        Kind(Colour, st.sampled_from(["red", "blue"]), st.sampled_from(["RED", "", 1, None])),
        Kind(
            date,
            st.dates().map(date.isoformat),
            st.sampled_from(["2024-13-01", "today", 20240101, None]),
        ),
        Kind(Pair, st.tuples(NUMBERS, TEXTS).map(list), st.tuples(NUMBERS).map(list) | NO_NUMBER),
        Kind(Model, MODELS, NO_MODELS),
        Kind(
            Plain,
            st.fixed_dictionaries({"amount": NUMBERS, "models": st.lists(MODELS, max_size=2)}),
            st.fixed_dictionaries(
                {"amount": NUMBERS, "models": st.lists(NO_MODELS, min_size=1, max_size=2)}
            ),
        ),
    ]
)


def containers(kinds: st.SearchStrategy[Kind]) -> st.SearchStrategy[Kind]:
    return st.one_of(kinds.map(list_of), kinds.map(dict_of), st.tuples(kinds, kinds).map(pair_of))


def list_of(kind: Kind) -> Kind:
    fits = st.lists(kind.fits, max_size=3)
    wrong = st.tuples(fits, kind.misfits, fits).map(lambda it: [*it[0], it[1], *it[2]])
    return Kind(list[kind.annotation], fits, wrong | OBJECTS)  # type: ignore[name-defined]  # a run-time type


def dict_of(kind: Kind) -> Kind:
    fits = st.dictionaries(TEXTS, kind.fits, max_size=3)
    wrong = st.tuples(fits, TEXTS, kind.misfits).map(lambda it: {**it[0], it[1]: it[2]})
    return Kind(dict[str, kind.annotation], fits, wrong | st.just([]))  # type: ignore[name-defined]  # a run-time type


def pair_of(kinds: tuple[Kind, Kind]) -> Kind:
    first, second = kinds
    wrong = st.tuples(first.fits, second.misfits) | st.tuples(first.misfits, second.fits)
    return Kind(
        tuple[first.annotation, second.annotation],  # type: ignore[name-defined]  # a run-time type
        st.tuples(first.fits, second.fits).map(list),
        wrong.map(list) | st.tuples(first.fits).map(list),
    )


KINDS = st.recursive(LEAVES, containers, max_leaves=4)
SIGNATURES = st.dictionaries(st.from_regex(r"[a-z]{1,3}x", fullmatch=True), KINDS, max_size=4)


def schema_of(signature: dict[str, Kind]) -> CallSchema:
    def tool() -> None: ...

    parameters = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind.annotation)
        for name, kind in signature.items()
    ]
    tool.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # read by inspect
    return call_schema(tool)


@given(SIGNATURES, st.data())
def test_fitting_arguments_convert_and_come_back_as_the_same_json(
    signature: dict[str, Kind], data: st.DataObject
) -> None:
    args = {name: data.draw(kind.fits) for name, kind in signature.items()}
    converted = to_json(schema_of(signature).convert(args))
    assert json.loads(json.dumps(converted)) == args


@given(SIGNATURES.filter(bool), st.data())
def test_one_misfit_anywhere_is_refused_and_named(
    signature: dict[str, Kind], data: st.DataObject
) -> None:
    wrong = data.draw(st.sampled_from(sorted(signature)))
    args = {
        name: data.draw(kind.misfits if name == wrong else kind.fits)
        for name, kind in signature.items()
    }
    with pytest.raises(LashError) as caught:
        schema_of(signature).convert(args)
    assert caught.value.code == "invalid_tool_args"
    problems: Any = caught.value.details["problems"]
    assert problems
    assert all(problem.startswith(f"`$.{wrong}") for problem in problems)


@given(SIGNATURES)
def test_every_schema_is_plain_json_with_all_references_at_its_root(
    signature: dict[str, Kind],
) -> None:
    schema: Any = schema_of(signature).json_schema
    assert json.loads(json.dumps(schema)) == schema
    assert schema.keys() - {"$defs"} == {"type", "properties", "required", "additionalProperties"}
    assert schema["required"] == list(schema["properties"]) == list(signature)

    def references(part: Any) -> set[str]:
        if isinstance(part, list):
            return set().union(*map(references, part))
        if not isinstance(part, dict):
            return set()
        own = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
        return own.union(*map(references, part.values()))

    assert references(schema) <= {f"#/$defs/{name}" for name in schema.get("$defs", {})}
