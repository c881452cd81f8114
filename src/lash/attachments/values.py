"""Tool values: JSON with attachments in it, and the form in which they are kept (tools spec 1.6).

An attachment is kept as `{"$lash_tool_value": "attachment", "source": …}`. An object of the tool's own
that happens to hold that key is kept as `{"$lash_tool_value": "object", "entries": …}`, so that no data
can pass for an attachment. What a tool returns is therefore never read by its tags; what was kept is.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from lash.attachments.model import (
    AttachmentRef,
    AttachmentSource,
    InlineSource,
    StoredSource,
    check_attachment_id,
)
from lash.core.errors import LashError
from lash.core.json import Data, JsonValue, canonical
from lash.core.text import is_utf8

#: The key that says that an object is not what it looks like.
TAG = "$lash_tool_value"


class ToolAttachment(Data):
    """An attachment somewhere inside a tool value."""

    source: AttachmentSource


if TYPE_CHECKING:
    ToolValue: TypeAlias = (
        "bool | int | float | str | ToolAttachment | Sequence[ToolValue]"
        " | Mapping[str, ToolValue] | None"
    )
else:
    # msgspec resolves annotations at run time and knows no recursive aliases.
    ToolValue = Any


# --- to what is kept --------------------------------------------------------------------------------


def encode_tool_value(value: ToolValue) -> JsonValue:
    """The JSON that a tool value is kept as. Object keys are sorted.

    Raises:
        LashError: `value_not_json`, with the path of the part that JSON cannot carry.
    """
    try:
        return _encode(value, "$")
    except RecursionError as error:
        raise _not_json("$", "it is nested too deeply, or holds itself") from error


def _encode(value: ToolValue, path: str) -> JsonValue:
    if isinstance(value, ToolAttachment):
        plain: JsonValue = msgspec.to_builtins(value.source)
        return {TAG: "attachment", "source": plain}
    if isinstance(value, str):
        return _text(value, path)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _not_json(path, f"{value} is not a JSON number")
        return value
    if isinstance(value, Mapping):
        # Keys are looked at before they are sorted: those of several types have no order.
        keys = sorted([_key(key, path) for key in value])
        entries = {key: _encode(value[key], f"{path}.{key}") for key in keys}
        return {TAG: "object", "entries": entries} if TAG in entries else entries
    if isinstance(value, list | tuple):
        return [_encode(item, f"{path}[{index}]") for index, item in enumerate(value)]
    raise _not_json(path, f"values of type {type(value).__name__} have no JSON form")


def _key(key: object, path: str) -> str:
    if not isinstance(key, str):
        raise _not_json(path, f"the key {key!r} is of type {type(key).__name__}, not a string")
    return _text(key, path)


def _text(text: str, path: str) -> str:
    if not is_utf8(text):
        raise _not_json(path, "the text holds an unpaired surrogate")
    return text


def _not_json(path: str, reason: str) -> LashError:
    return LashError(
        "value_not_json", f"This value cannot be kept: {reason} (at {path}).", path=path
    )


# --- from what was kept -----------------------------------------------------------------------------


def decode_tool_value(kept: JsonValue) -> ToolValue:
    """The tool value that was kept as `kept`.

    Raises:
        LashError: `tool_value_malformed`: an unknown tag, or fields that are missing or too many.
    """
    try:
        return _decode(kept, "$")
    except RecursionError as error:
        raise _malformed("$", "it is nested too deeply") from error


def _decode(kept: JsonValue, path: str) -> ToolValue:
    if isinstance(kept, Mapping):
        if TAG in kept:
            return _decode_tagged(kept, path)
        return {key: _decode(item, f"{path}.{key}") for key, item in kept.items()}
    if isinstance(kept, list | tuple):
        return [_decode(item, f"{path}[{index}]") for index, item in enumerate(kept)]
    return kept


def _decode_tagged(kept: Mapping[str, JsonValue], path: str) -> ToolValue:
    match kept:
        case {"$lash_tool_value": "attachment", "source": source} if len(kept) == 2:
            return ToolAttachment(source=_decode_source(source, f"{path}.source"))
        case {"$lash_tool_value": "object", "entries": Mapping() as entries} if len(kept) == 2:
            return {key: _decode(item, f"{path}.{key}") for key, item in entries.items()}
        case _:
            raise _malformed(path, f"its {TAG} is unknown, or it has other fields than that has")


def _decode_source(source: JsonValue, path: str) -> AttachmentSource:
    try:
        read: AttachmentSource = msgspec.convert(source, AttachmentSource)
        if isinstance(read, StoredSource):
            check_attachment_id(read.attachment_ref.id)
    except (msgspec.ValidationError, LashError) as error:
        raise _malformed(path, f"it is no attachment: {error}") from error
    extra = next(_unknown_fields(source, read), None)
    if extra is not None:
        raise _malformed(path, f"it has a field {extra!r} that attachments do not have")
    return read


def _unknown_fields(given: object, read: msgspec.Struct) -> Iterator[str]:
    """The fields of an object that the struct it was read as does not have."""
    known = {*read.__struct_fields__, read.__struct_config__.tag_field}
    for name, value in given.items() if isinstance(given, Mapping) else ():
        if name not in known:
            yield str(name)
        inner = getattr(read, str(name), None)
        if isinstance(inner, msgspec.Struct):
            yield from _unknown_fields(value, inner)


def _malformed(path: str, reason: str) -> LashError:
    return LashError(
        "tool_value_malformed",
        f"A kept tool value cannot be read: {reason} (at {path}).",
        path=path,
    )


# --- what is in them --------------------------------------------------------------------------------


def attachments_of(value: ToolValue) -> Iterator[AttachmentSource]:
    """The attachments inside a value, in the order in which its JSON text has them."""
    if isinstance(value, ToolAttachment):
        yield value.source
    elif isinstance(value, Mapping):
        for key in sorted(value):
            yield from attachments_of(value[key])
    elif isinstance(value, list | tuple):
        for item in value:
            yield from attachments_of(item)


def stored_ids(value: ToolValue) -> tuple[str, ...]:
    """The ids of the stored attachments inside a value, each once: what whoever keeps it must hold."""
    found = (
        source.attachment_ref.id
        for source in attachments_of(value)
        if isinstance(source, StoredSource)
    )
    return tuple(dict.fromkeys(found))


def inline_sources(value: ToolValue) -> tuple[InlineSource, ...]:
    """The attachments inside a value that have to be stored before anything keeps it."""
    return tuple(source for source in attachments_of(value) if isinstance(source, InlineSource))


def with_stored(value: ToolValue, refs: Mapping[InlineSource, AttachmentRef]) -> ToolValue:
    """The same value with its inline attachments as the stored ones that they became.

    Raises:
        KeyError: One of them is not among `refs`.
    """
    if isinstance(value, ToolAttachment):
        if isinstance(value.source, InlineSource):
            return ToolAttachment(source=StoredSource(attachment_ref=refs[value.source]))
        return value
    if isinstance(value, Mapping):
        return {key: with_stored(item, refs) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [with_stored(item, refs) for item in value]
    return value


def spliced(value: ToolValue) -> tuple[str | AttachmentSource, ...]:
    """What a model is shown: text verbatim, other JSON compact, each attachment at its place.

    `{"a": <picture>, "b": 1}` comes to `{"a":`, the picture, `,"b":1}`.
    """
    if isinstance(value, str):
        return (value,) if value else ()
    parts: list[str | AttachmentSource] = []
    for piece in _pieces(value):
        if isinstance(piece, str) and parts and isinstance(parts[-1], str):
            parts[-1] += piece
        else:
            parts.append(piece)
    return tuple(parts)


def _pieces(value: ToolValue) -> Iterator[str | AttachmentSource]:
    if isinstance(value, ToolAttachment):
        yield value.source
    elif isinstance(value, Mapping):
        for index, key in enumerate(sorted(value)):
            yield f"{',' if index else '{'}{canonical(key).decode()}:"
            yield from _pieces(value[key])
        yield "}" if value else "{}"
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield "," if index else "["
            yield from _pieces(item)
        yield "]" if value else "[]"
    else:
        yield canonical(value).decode()
