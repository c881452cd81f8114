"""Values of our own types, drawn at random from what their annotations allow."""

from typing import Any

import msgspec.inspect
from hypothesis import strategies as st

#: Names as people and models choose them: some hold what keys are made with.
names = st.text(alphabet="a:%3A2.é", min_size=1, max_size=6)
texts = st.text(max_size=5)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
json_objects = st.dictionaries(texts, json_values, max_size=3)


def values_of(kind: object) -> st.SearchStrategy[Any]:
    """Any value of a type or union of types; every field of every case is met."""
    return _drawn(msgspec.inspect.type_info(kind))


_structs: dict[type, st.SearchStrategy[Any]] = {}
_SIMPLE: dict[type[msgspec.inspect.Type], st.SearchStrategy[Any]] = {
    msgspec.inspect.DictType: json_objects,
    msgspec.inspect.StrType: texts,
    msgspec.inspect.IntType: st.integers(-(2**63), 2**63 - 1),
    msgspec.inspect.FloatType: st.floats(allow_nan=False, allow_infinity=False),
    msgspec.inspect.BoolType: st.booleans(),
    msgspec.inspect.BytesType: st.binary(max_size=8),
    msgspec.inspect.NoneType: st.none(),
    msgspec.inspect.AnyType: json_values,
}


def _drawn(kind: msgspec.inspect.Type) -> st.SearchStrategy[Any]:
    match kind:
        case msgspec.inspect.StructType(cls=made, fields=fields):
            if made not in _structs:
                parts = {field.name: _drawn(field.type) for field in fields}
                _structs[made] = st.builds(made, **parts)
            return _structs[made]
        case msgspec.inspect.UnionType(types=cases):
            return st.one_of([_drawn(case) for case in cases])
        case msgspec.inspect.VarTupleType(item_type=item):
            return st.lists(_drawn(item), max_size=2).map(tuple)
        case msgspec.inspect.LiteralType(values=allowed):
            return st.sampled_from(allowed)
        case msgspec.inspect.TupleType(item_types=items):
            return st.tuples(*(_drawn(item) for item in items))
        case msgspec.inspect.DictType(value_type=msgspec.inspect.TupleType() as value):
            return st.dictionaries(texts, _drawn(value), max_size=2)
        case _:
            return _SIMPLE[type(kind)]
