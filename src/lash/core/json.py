"""JSON as lash stores, sends and hashes it: one canonical form, checked at the edge, hashed with a version."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast, dataclass_transform

import msgspec

from lash.core.errors import LashError

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


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class DataMeta(msgspec.StructMeta):
    """Gives every `Data` class the same settings, so that no class can forget one."""

    def __new__(
        mcls,
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, object],
        *,
        tag_field: str | None = None,
        tag: str | None = None,
    ) -> "DataMeta":  # noqa: PYI034  a metaclass cannot return Self
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

    Equal values give equal bytes on every machine and in every run.

    Raises:
        LashError: `value_not_json`, with the path of the part that JSON cannot carry.
    """
    plain = msgspec.to_builtins(value, enc_hook=_refuse)
    _check(plain, "$")
    return _ENCODER.encode(plain)


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
    and tuples are welcome; bytes become base64.

    Raises:
        LashError: `value_not_json`, with the path and type of the part that JSON cannot carry.
    """
    try:
        plain = msgspec.to_builtins(value, enc_hook=_encode_foreign)
    except (TypeError, ValueError, RecursionError) as error:
        raise _not_json("$", str(error)) from error
    _check(plain, "$")
    return cast("JsonValue", plain)


def _encode_foreign(value: object) -> object:
    dump = getattr(value, "model_dump", None)  # a pydantic model, without importing pydantic
    if callable(dump):
        return dump(mode="json")
    return _refuse(value)


def _refuse(value: object) -> object:
    kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    message = f"a {kind} has no JSON form"
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
                raise _not_json(path, f"the key {key!r} is a {type(key).__name__}, not a string")
            _check_text(key, path)
            _check(item, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _check(item, f"{path}[{index}]")


def _check_text(text: str, path: str) -> None:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise _not_json(path, "the text holds an unpaired surrogate") from error


def _not_json(path: str, reason: str) -> LashError:
    return LashError(
        "value_not_json",
        f"This value cannot be stored: {reason} (at {path}). "
        "Return text, numbers, lists, dicts with string keys, dataclasses or models.",
        path=path,
        reason=reason,
    )
