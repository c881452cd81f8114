"""What programs read: JSON documents, with the same keys every time."""

import dataclasses
import json
import sys
from collections.abc import Mapping
from typing import TextIO

import msgspec

from lash.core.json import JsonValue


def write_json(value: object) -> None:
    """Print one JSON document, in ASCII where the output could not carry more."""
    text = json.dumps(plain(value), ensure_ascii=not _takes_unicode(sys.stdout), indent=2)
    sys.stdout.write(f"{text}\n")


def write_json_line(out: TextIO, value: object) -> None:
    """Write one JSON document on a line of its own, at once."""
    out.write(f"{json.dumps(plain(value), ensure_ascii=not _takes_unicode(out))}\n")
    out.flush()


def _takes_unicode(out: TextIO) -> bool:
    return (out.encoding or "").lower().replace("-", "") == "utf8"


def plain(value: object) -> JsonValue:
    """Plain data with every field of every value: keys do not come and go with the content.

    What is stored leaves defaults out, so that stored bytes keep their hash; readers of output want
    the same keys every time.
    """
    if isinstance(value, msgspec.Struct):
        config = value.__struct_config__
        fields: dict[str, JsonValue] = {}
        if config.tag_field is not None:
            fields[config.tag_field] = config.tag
        return fields | {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if dataclasses.is_dataclass(value):
        return {item.name: plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    builtin: JsonValue = msgspec.to_builtins(value)
    return builtin
