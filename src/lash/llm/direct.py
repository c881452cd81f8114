"""Direct completions: one question, one answer, outside any turn (tools spec section 7). Pure.

What the answer is to be is said with a Python type or a JSON schema; the answer is checked here, also
when the provider promises to keep to it.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

import msgspec

from lash.core.errors import ConfigurationError, DirectError, LashError
from lash.core.json import JsonValue, digest, to_json
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

T_co = TypeVar("T_co", covariant=True)

_FENCED = re.compile(r"^\s*```[a-zA-Z]*\s*\n(.*?)\n?\s*```\s*$", re.DOTALL)


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
        ConfigurationError: `type_without_json`, `direct_request_invalid`, `json_schema_unavailable`.
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
        try:
            return typed.read(_parse(text))
        except LashError as error:
            raise _misfit(error.message) from error

    return OutputContract(JsonSchemaOutput(name=name, json_schema=typed.json_schema), read)


def _by_schema(given: Mapping[str, object]) -> OutputContract:
    try:
        schema = cast("dict[str, JsonValue]", to_json(given))
    except LashError as error:
        raise _unusable_schema(error.message) from error
    try:
        import jsonschema  # slow to import, and rarely needed
    except ImportError as error:  # pragma: no cover  it is a dependency
        raise ConfigurationError(
            "json_schema_unavailable",
            "Checking an answer against a JSON schema needs the jsonschema package; install it.",
        ) from error
    validator_class = jsonschema.validators.validator_for(schema)
    try:
        validator_class.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise _unusable_schema(error.message) from error
    validator = validator_class(schema)

    def read(text: str) -> object:
        value = _parse(text)
        problem = jsonschema.exceptions.best_match(validator.iter_errors(value))
        if problem is not None:
            raise _misfit(f"`{problem.json_path}`: {problem.message}")
        return value

    return OutputContract(JsonSchemaOutput(name="answer", json_schema=schema), read)


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
    if not prompt.strip() or not is_utf8(prompt):
        raise ConfigurationError(
            "direct_request_invalid",
            "The prompt of a direct completion must be text, and not blank.",
        )
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
    fenced = _FENCED.match(text)
    try:
        return cast("JsonValue", msgspec.json.decode(fenced[1] if fenced else text))
    except (msgspec.MsgspecError, UnicodeEncodeError) as error:
        raise _misfit(f"it is not JSON ({error})") from error


def _misfit(why: str) -> DirectError:
    return DirectError(
        "invalid_structured_output", f"The model's answer is not what was asked for: {why}"
    )


def _unusable_schema(why: str) -> ConfigurationError:
    return ConfigurationError(
        "direct_request_invalid", f"The output is no JSON schema that can be used: {why}"
    )
