"""What a tool returned, as it is kept: plain JSON, or a tool value where attachments stand in it. Pure."""

import dataclasses
from collections.abc import Mapping

import msgspec

from lash.attachments.model import (
    Attachment,
    AttachmentRef,
    AttachmentSource,
    ExternalUrlSource,
    InlineSource,
    ProviderFileSource,
    StoredSource,
)
from lash.attachments.values import (
    TAG,
    ToolAttachment,
    ToolValue,
    attachments_of,
    decode_tool_value,
    encode_tool_value,
)
from lash.core.errors import LashError
from lash.core.json import Data, JsonValue, to_json


class Kept(Data):
    """A value as it is kept; `has_attachments` says that it has to be read as a tool value."""

    payload: JsonValue
    has_attachments: bool = False


def source_of(value: object) -> AttachmentSource | None:
    """The attachment that a value is, or None when it is none."""
    match value:
        case AttachmentRef():
            return StoredSource(attachment_ref=value)
        case Attachment(ref=ref):
            return StoredSource(attachment_ref=ref)
        case InlineSource() | StoredSource() | ExternalUrlSource() | ProviderFileSource():
            return value
        case ToolAttachment(source=source):
            return source
        case _:
            return None


def kept_value(value: object) -> Kept:
    """A value of user code as it is kept. Attachments may stand anywhere in it.

    Raises:
        LashError: `value_not_json`, with the path of the part that JSON cannot carry.
    """
    try:
        holds = _holds(value)
    except RecursionError:
        holds = False  # `to_json` says what is wrong with it
    if not holds:
        return Kept(payload=to_json(value))
    return Kept(payload=encode_tool_value(_tool_value(value)), has_attachments=True)


def told_again(value: object, told: JsonValue) -> object:
    """A value that was made of a kept one, with the attachments of that one as attachments again.

    What looks like another attachment than those that were told is data.

    Args:
        value: What somebody has made of it.
        told: What was told: a tool value as it is kept.
    """
    known = tuple(attachments_of(decode_tool_value(told)))

    def again(part: object) -> object:
        if isinstance(part, Mapping):
            if TAG not in part:
                return {name: again(item) for name, item in part.items()}
            try:
                read = decode_tool_value(part)
            except LashError:
                return part
            return read if all(each in known for each in attachments_of(read)) else part
        if isinstance(part, list | tuple):
            return [again(item) for item in part]
        return part

    try:
        return again(value)
    except RecursionError:
        return value  # `kept_value` says what is wrong with it


def _holds(value: object) -> bool:
    if value is None or isinstance(value, str | bytes | int | float):
        return False
    if source_of(value) is not None:
        return True
    if isinstance(value, Mapping):
        return any(_holds(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(_holds(item) for item in value)
    return any(_holds(item) for item in _fields(value).values())


def _fields(value: object) -> dict[str, object]:
    """What a dataclass or a struct is made of; nothing for everything else."""
    if isinstance(value, msgspec.Struct):
        names = zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True)
        return {told: getattr(value, name) for name, told in names}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    return {}


def _tool_value(value: object) -> ToolValue:
    source = source_of(value)
    if source is not None:
        return ToolAttachment(source=source)
    if not _holds(value):
        return to_json(value)
    if isinstance(value, Mapping):
        return {name: _tool_value(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_tool_value(item) for item in value]
    return {name: _tool_value(item) for name, item in _fields(value).items()}
