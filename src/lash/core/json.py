"""JSON as lash stores, sends and hashes it: one canonical form, checked at the edge, hashed with a version."""

import dataclasses
import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast, dataclass_transform

import msgspec

from lash.core.errors import LashError
from lash.core.text import is_utf8

if TYPE_CHECKING:
    JsonValue: TypeAlias = (
        "bool | int | float | str | Sequence[JsonValue] | Mapping[str, JsonValue] | None"
    )
else:
    # msgspec resolves annotations at run time and knows no recursive aliases.
    JsonValue = Any

JsonObject: TypeAlias = Mapping[str, JsonValue]

#: Between family and content: canonical JSON never holds a zero byte, so the two cannot run together.
_SEPARATOR = b"\0"
_ENCODER = msgspec.json.Encoder(order="sorted")

#: How deep a value from outside may be nested: far below what whoever reads it, in Python, can bear.
DEEPEST = 200


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class DataMeta(msgspec.StructMeta):
    """Gives every `Data` class the same settings, so that no class can forget one."""

    def __new__(  # noqa: PYI034  a metaclass cannot return Self
        mcls,
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, object],
        *,
        tag_field: str | None = None,
        tag: str | None = None,
    ) -> "DataMeta":
        """Create a frozen, keyword-only struct that omits its defaults on the wire."""
        return super().__new__(
            mcls,
            name,
            bases,
            namespace,
            tag_field=tag_field,
            tag=tag,
            frozen=True,
            kw_only=True,
            omit_defaults=True,
        )


class Data(msgspec.Struct, metaclass=DataMeta):
    """Base of every value that is stored, journaled or sent: immutable, compared by content.

    Fields at their default are omitted on the wire, so adding a field with a default never changes
    the bytes (and therefore never the hash) of older values.
    """


def canonical(value: object) -> bytes:
    """Encode `value` as canonical JSON: sorted keys, compact, UTF-8, no NaN or Infinity.

    Equal values give equal bytes on every machine and in every run; sets are sorted for that.

    Raises:
        LashError: `value_not_json`, with the path of the part that JSON cannot carry.
    """
    return _ENCODER.encode(_plain(value, _refuse))


def encode(value: object) -> bytes:
    """Encode a value of ours (or one already checked by `to_json`) without checking it again."""
    return _ENCODER.encode(value)


def digest(family: str, value: object, *, version: int = 1) -> str:
    """Hash `value` by its canonical JSON, as `family:v1:sha256:<hex>`.

    The family and version are part of the hashed bytes, so that two families never share a digest
    and a change of meaning is a change of version.
    """
    return digest_bytes(family, canonical(value), version=version)


def digest_bytes(family: str, data: bytes, *, version: int = 1) -> str:
    """Hash bytes that are already canonical; see `digest`."""
    prefix = f"{family}:v{version}"
    return f"{prefix}:sha256:{hashlib.sha256(prefix.encode() + _SEPARATOR + data).hexdigest()}"


def to_json(value: object) -> JsonValue:
    """Turn a value from user code into plain JSON data, or say exactly what cannot be stored.

    Dataclasses, TypedDicts, msgspec structs, pydantic models, enums, dates, UUIDs, decimals, sets
    and tuples are welcome; bytes become base64. A set is sorted, so its members must be of one kind.

    Raises:
        LashError: `value_not_json`, with the path and type of the part that JSON cannot carry.
    """
    # Read back from its own text, so that the first run sees what a replay will see: lists, not tuples.
    plain = _ENCODER.encode(_plain(value, _encode_foreign))
    return cast("JsonValue", msgspec.json.decode(plain))


def is_deep(value: object) -> bool:
    """Whether plain data is nested more than `DEEPEST` deep."""
    level = [value]
    for _ in range(DEEPEST):
        level = [
            inner for outer in level for inner in _inner(outer) if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def _inner(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _plain(value: object, foreign: Callable[[object], object]) -> object:
    """Turn `value` into plain, checked data; `foreign` converts what msgspec does not know."""
    try:
        plain = _convert(value, foreign)
        _check(plain, "$")
    except RecursionError as error:
        raise _not_json("$", "it is nested too deeply, or holds itself") from error
    except (TypeError, ValueError) as error:
        path, reason = _locate(value, "$", str(error), foreign)
        raise _not_json(path, reason) from error
    return plain


def _convert(value: object, foreign: Callable[[object], object]) -> object:
    # Sets come out in another order in every run unless they are sorted.
    return msgspec.to_builtins(value, order="deterministic", enc_hook=foreign)


def _locate(
    value: object, path: str, reason: str, foreign: Callable[[object], object]
) -> tuple[str, str]:
    """The innermost part of `value` that does not convert, and why. Runs only after a failure."""
    for child_path, child in _children(value, path):
        try:
            _convert(child, foreign)
        except (TypeError, ValueError) as error:
            return _locate(child, child_path, str(error), foreign)
    if isinstance(value, Mapping):
        odd = [key for key in value if not isinstance(key, str)]
        return path, _odd_key(odd[0]) if odd else reason
    if isinstance(value, set | frozenset):
        return path, "the members of this set have no order among themselves; use a list"
    return path, reason


def _children(value: object, path: str) -> Iterable[tuple[str, object]]:
    if isinstance(value, Mapping):
        return [(f"{path}.{key}", item) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return [(f"{path}[{index}]", item) for index, item in enumerate(value)]
    if isinstance(value, set | frozenset):
        return [(f"{path}[]", item) for item in value]
    if isinstance(value, msgspec.Struct):
        names: Iterable[str] = value.__struct_fields__
    elif dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
    else:
        return ()
    return [(f"{path}.{name}", getattr(value, name)) for name in names]


def _encode_foreign(value: object) -> object:
    dump = getattr(value, "model_dump", None)  # a pydantic model, without importing pydantic
    if callable(dump):
        return dump(mode="json")
    return _refuse(value)


def _refuse(value: object) -> object:
    kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    message = f"values of type {kind} have no JSON form"
    raise TypeError(message)


def _check(value: object, path: str) -> None:
    """Walk plain data and refuse what JSON would silently change."""
    if value is None or isinstance(value, bool | int):
        return
    if isinstance(value, str):
        _check_text(value, path)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise _not_json(path, f"{value} is not a JSON number")
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise _not_json(path, _odd_key(key))
            _check_text(key, path)
            _check(item, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _check(item, f"{path}[{index}]")


def _odd_key(key: object) -> str:
    return f"the key {key!r} is of type {type(key).__name__}, not a string"


def _check_text(text: str, path: str) -> None:
    if not is_utf8(text):
        raise _not_json(path, "the text holds an unpaired surrogate")


def _not_json(path: str, reason: str) -> LashError:
    return LashError(
        "value_not_json",
        f"This value cannot be stored: {reason} (at {path}). "
        "Return text, numbers, lists, dicts with string keys, dataclasses or models.",
        path=path,
        reason=reason,
    )
