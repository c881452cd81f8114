"""Direct completions: one question, one answer, outside any turn (tools spec section 7). Pure.

What the answer is to be is said with a Python type or a JSON schema; the answer is checked here, also
when the provider promises to keep to it.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar, cast

import msgspec

from lash.core.errors import ConfigurationError, DirectError, LashError
from lash.core.json import JsonValue, digest, to_json
from lash.core.schema_values import without_optional_nulls
from lash.core.text import is_utf8
from lash.core.typed import typed_value
from lash.llm.request import (
    HistoryRef,
    JsonObjectOutput,
    JsonSchemaOutput,
    LlmMessage,
    LlmRequest,
    LlmScope,
    ModelSpec,
    OutputSpec,
    TextBlock,
)
from lash.llm.response import LlmFailure, LlmResponse, TextPart
from lash.llm.retry import LlmCallRecord
from lash.llm.usage import Usage

if TYPE_CHECKING:
    from jsonschema.protocols import Validator
    from referencing._core import Resolver
    from referencing.jsonschema import Schema, SchemaResource

T_co = TypeVar("T_co", covariant=True)

#: What a block of code is marked with, and the name of its language.
_FENCE = "```"
_LANGUAGE = re.compile(r"[a-zA-Z]*\s")

#: What a JSON schema is read as unless it says otherwise.
_DIALECT = "https://json-schema.org/draft/2020-12/schema"

#: What is wrong with an answer may quote all of it; the beginning tells.
_LONGEST_REASON = 500


@dataclass(frozen=True, slots=True)
class DirectResult(Generic[T_co]):
    """The answer to a direct completion.

    Attributes:
        text: What the model wrote.
        value: What was asked for: the text, or what the text says as JSON, read as its type.
        usage: Tokens, failed attempts included.
        llm_call: The ledger of the call, every attempt.
    """

    text: str
    value: T_co
    usage: Usage
    llm_call: LlmCallRecord


@dataclass(frozen=True, slots=True)
class OutputContract:
    """What an answer is to be.

    Attributes:
        spec: What the provider is told; None for text.
        read: The value of an answer's text; raises `DirectError` where it is not what was asked for.
    """

    spec: OutputSpec | None
    read: Callable[[str], object]


def output_contract(output: object) -> OutputContract:
    """What `output` asks for: None for text, `dict` for any JSON object, a type, or a JSON schema.

    Raises:
        ConfigurationError: `type_without_json`, `direct_request_invalid`.
    """
    if output is None or output is str:
        return OutputContract(spec=None, read=str)
    if output is dict:
        return OutputContract(spec=JsonObjectOutput(), read=_read_object)
    if isinstance(output, Mapping):
        return _by_schema(cast("Mapping[str, object]", output))
    typed = typed_value(output, "The output of a direct completion")
    name = re.sub(r"[^a-zA-Z0-9_-]", "_", getattr(output, "__name__", "answer"))[:64]

    def read(text: str) -> object:
        value = _parse(text)
        try:
            return typed.read(value)
        except LashError as error:
            # Where a schema is told strictly nothing may be left out, so models say null instead.
            kept = without_optional_nulls(value, typed.json_schema, typed.json_schema)
            if kept is value:
                raise _misfit(error.message) from error
        try:
            return typed.read(kept)
        except LashError as error:
            raise _misfit(error.message) from error

    return OutputContract(JsonSchemaOutput(name=name, json_schema=typed.json_schema), read)


def _by_schema(given: Mapping[str, object]) -> OutputContract:
    try:
        # Models write the members of an object in the order in which its schema names them.
        schema = cast("dict[str, JsonValue]", _ordered(to_json(given), given))
    except LashError as error:
        raise _unusable_schema(error.message) from error
    validator = _validator(schema)
    from jsonschema.exceptions import best_match

    def read(text: str) -> object:
        value = _parse(text)
        try:
            problem = best_match(validator.iter_errors(value))
            if problem is not None:
                # Models say null for what they leave out, and have to where schemas are told strictly.
                kept = without_optional_nulls(value, schema, schema)
                if kept is not value:
                    value, problem = kept, best_match(validator.iter_errors(kept))
        except RecursionError as error:
            raise _misfit("it is nested too deeply") from error
        if problem is not None:
            raise _misfit(f"`{problem.json_path}`: {problem.message}")
        return value

    return OutputContract(JsonSchemaOutput(name="answer", json_schema=schema), read)


def _ordered(plain: JsonValue, given: object) -> JsonValue:
    """Plain JSON with its members in the order in which they were given."""
    if isinstance(plain, Mapping) and isinstance(given, Mapping) and plain.keys() == given.keys():
        return {name: _ordered(plain[name], each) for name, each in given.items()}
    if isinstance(plain, list) and isinstance(given, list | tuple):
        return [_ordered(*pair) for pair in zip(plain, given, strict=True)]
    return plain


def _validator(schema: dict[str, JsonValue]) -> "Validator":
    """What checks answers against a schema. All of the schema is looked at now, before anybody pays.

    Raises:
        ConfigurationError: `direct_request_invalid`.
    """
    # Slow to import, and rarely needed.
    import jsonschema
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import EMPTY_REGISTRY, specification_with

    dialect = str(schema.get("$schema", _DIALECT))
    known = jsonschema.validators.validator_for(
        {"$schema": dialect},
        default=None,  # type: ignore[arg-type]  # any default is handed back
    )
    if known is None:
        raise _unusable_schema(f"its $schema, {dialect!r}, is not known")
    try:
        known.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise _unusable_schema(error.message) from error
    root = specification_with(dialect).create_resource(cast("Schema", schema))
    for reference, resolver in _references(root, EMPTY_REGISTRY.resolver_with_root(root)):
        try:
            resolver.lookup(reference)
        except Unresolvable as error:
            why = f"it refers to {reference!r}, which is not in it"
            raise _unusable_schema(why) from error
    # With a registry of its own nothing is ever fetched from where a schema says it lies.
    return known(schema, registry=EMPTY_REGISTRY)


def _references(
    schema: "SchemaResource", resolver: "Resolver[Schema]"
) -> Iterator[tuple[str, "Resolver[Schema]"]]:
    """All that a schema refers to, each with what knows how to look it up."""
    contents = schema.contents
    for name in ("$ref", "$dynamicRef"):
        if isinstance(contents, Mapping) and name in contents:
            yield str(contents[name]), resolver
    for inner in schema.subresources():
        yield from _references(inner, resolver.in_subresource(inner))


def direct_request(
    prompt: str,
    *,
    model: ModelSpec,
    instructions: str,
    output: OutputSpec | None,
    scope: LlmScope,
) -> LlmRequest:
    """The request of a direct completion: one message, no tools, no history.

    Raises:
        ConfigurationError: `direct_request_invalid`.
    """
    check_text(prompt, "The prompt")
    check_text(instructions, "The instructions", may_be_blank=True)
    return LlmRequest(
        model=model,
        instructions=instructions,
        messages=(LlmMessage(role="user", blocks=(TextBlock(text=prompt),)),),
        tools=(),
        history=HistoryRef(count=0, digest=""),
        scope=scope,
        tool_choice="none",
        output=output,
    )


def check_text(value: object, what: str, *, may_be_blank: bool = False) -> None:
    """Refuse what is not text, cannot be stored or is blank.

    Raises:
        ConfigurationError: `direct_request_invalid`.
    """
    if isinstance(value, str) and is_utf8(value) and (may_be_blank or value.strip()):
        return
    blank = "" if may_be_blank else ", and not blank"
    raise ConfigurationError(
        "direct_request_invalid",
        f"{what} of a direct completion must be text that UTF-8 can carry{blank}.",
    )


def direct_result(
    contract: OutputContract,
    record: LlmCallRecord,
    answer: LlmResponse | LlmFailure | None,
    wasted: Usage,
) -> DirectResult[object]:
    """What a completed call came to.

    Raises:
        DirectError: `direct_failed` with what the provider said; `invalid_structured_output`.
    """
    if not isinstance(answer, LlmResponse):
        said = answer.message if answer else "nothing was said"
        raise DirectError(
            "direct_failed",
            f"The model did not answer: {said}",
            kind=answer.kind if answer else None,
            provider_code=answer.code if answer else None,
            attempts=len(record.attempts),
        )
    text = answer_text(answer)
    return DirectResult(text, contract.read(text), answer.usage + wasted, record)


def answer_text(response: LlmResponse) -> str:
    """The visible text of an answer."""
    spoken = "".join(part.text for part in response.parts if isinstance(part, TextPart))
    return spoken or response.full_text


def request_name(session_id: str, source: str, key: str) -> str:
    """What a direct request is called at the provider: the same however often it is sent."""
    return digest("direct-request", [session_id, source, key])


def _read_object(text: str) -> object:
    value = _parse(text)
    if not isinstance(value, dict):
        raise _misfit(f"a JSON object was asked for, not {type(value).__name__}")
    return value


def _parse(text: str) -> JsonValue:
    try:
        return cast("JsonValue", msgspec.json.decode(_unfenced(text)))
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError) as error:
        raise _misfit(f"it is not JSON ({error})") from error


def _unfenced(text: str) -> str:
    """What stands in a block of code, if that is all there is: models like to mark JSON as such."""
    block = text.strip()
    inner = block.removeprefix(_FENCE).removesuffix(_FENCE)
    if len(block) - len(inner) != 2 * len(_FENCE):
        return text
    language = _LANGUAGE.match(inner)
    return inner[language.end() :] if language else inner


def _misfit(why: str) -> DirectError:
    told = why if len(why) <= _LONGEST_REASON else why[:_LONGEST_REASON] + "…"
    return DirectError(
        "invalid_structured_output", f"The model's answer is not what was asked for: {told}"
    )


def _unusable_schema(why: str) -> ConfigurationError:
    return ConfigurationError(
        "direct_request_invalid", f"The output is no JSON schema that can be used: {why}"
    )
