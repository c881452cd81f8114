"""From a Python function's signature to the JSON schema a model sees, and back from JSON to arguments."""

import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import CodeType
from typing import Annotated, NoReturn, cast, get_args, get_origin

import msgspec

from lash.core.annotations import READ_ERRORS, AnnotationError, describe, explain
from lash.core.docstrings import parse_docstring
from lash.core.errors import ConfigurationError, LashError
from lash.core.json import JsonObject, JsonValue, canonical
from lash.core.misfits import describe_misfits
from lash.core.schema_values import without_optional_nulls

#: Why a parameter cannot be filled from JSON by its name, and what to write instead.
_REFUSED_KINDS = {
    inspect.Parameter.VAR_POSITIONAL: (
        "takes any number of unnamed arguments, and a model passes arguments by name",
        "take one list instead, for example `items: list[str]`",
    ),
    inspect.Parameter.VAR_KEYWORD: (
        "takes any argument, so a model cannot be told what to pass",
        "declare each argument, or take one dict, for example `options: dict[str, str]`",
    ),
    inspect.Parameter.POSITIONAL_ONLY: (
        "is positional only, and a model passes arguments by name",
        "remove the `/` behind it",
    ),
}
_JSON_TYPES = (
    "use numbers, text, lists, dicts, dates, enums, dataclasses, TypedDicts, msgspec structs or "
    "pydantic models"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSchema:
    """How a function is called with JSON.

    Attributes:
        json_schema: The schema of its arguments, an object with one property per parameter.
        description: What its docstring says, without the parts about parameters.
        injected: The parameter that receives the context object, if there is one.
    """

    json_schema: JsonObject
    description: str
    injected: str | None
    _readers: Mapping[str, Callable[[JsonValue], object]]

    def convert(self, args: JsonObject, *, nulls_left_out: bool = False) -> dict[str, object]:
        """Validate JSON arguments and convert them into keyword arguments.

        An argument that was not given stays away, so that the function's own default applies: a
        default need not be JSON, and `None` stays different from missing.

        Args:
            args: The arguments, by name.
            nulls_left_out: Models send null for what they leave out. With this, null counts as left
                out where something may be left out and null does not fit: for a parameter with a
                default, and for a member of an object among the arguments.

        Raises:
            LashError: `invalid_tool_args`; its message and `details["problems"]` name every path
                that does not fit, what was expected there and what came.
        """
        if not isinstance(args, Mapping):
            raise _invalid_arguments(["`$`: expected an object with the arguments by name"])
        definitions = cast("JsonObject", self.json_schema.get("$defs", {}))
        properties = cast("Mapping[str, JsonObject]", self.json_schema["properties"])
        required = cast("list[str]", self.json_schema["required"])
        values: dict[str, object] = {}
        problems = [
            f"`$.{name}`: expected this required argument, got nothing"
            for name in required
            if name not in args
        ]
        for name, value in args.items():
            if name not in self._readers:
                problems.append(f"`$.{name}`: unknown argument; {self._allowed()}")
                continue
            try:
                values.update(self._read(name, value, nulls_left_out=nulls_left_out))
            except READ_ERRORS as error:
                misfits = describe_misfits(error, value, properties[name], definitions)
                problems += [f"`$.{name}{each.path}`: {each.reason}" for each in misfits]
        if problems:
            raise _invalid_arguments(problems)
        return values

    def _read(self, name: str, value: JsonValue, *, nulls_left_out: bool) -> Mapping[str, object]:
        """One argument by its name, or nothing where it counts as left out."""
        read = self._readers[name]
        try:
            return {name: read(value)}
        except READ_ERRORS:
            if not nulls_left_out:
                raise
            if value is None and name not in cast("list[str]", self.json_schema["required"]):
                return {}
            properties = cast("JsonObject", self.json_schema["properties"])
            kept = without_optional_nulls(value, properties[name], self.json_schema)
            if kept is value:
                raise
        return {name: read(kept)}

    def _allowed(self) -> str:
        names = ", ".join(f"`{name}`" for name in self._readers)
        return f"allowed are {names}" if names else "none is allowed"


def call_schema(
    function: Callable[..., object], *, injected_type: type | None = None
) -> CallSchema:
    """Derive the schema of a function's arguments from its signature and docstring.

    Args:
        function: Any function, bound method or callable object whose parameters are annotated.
        injected_type: The parameter annotated with this type (or a subclass, or either `| None`)
            is left out of the schema and named in `CallSchema.injected`.

    Raises:
        ConfigurationError: `tool_signature_invalid`, naming the function, the parameter, the
            reason and the remedy.
    """
    parameters = _parameters(function)
    hints = _resolve(function, parameters, injected_type)
    injected = [name for name, hint in hints.items() if _is_injected(hint, injected_type)]
    if len(injected) > 1:
        reason = f"receives the context, and so does `{injected[0]}`"
        _refuse(function, injected[1], reason, "keep one of them")
    for name in injected:
        del hints[name]
    try:
        description = describe(hints)
    except AnnotationError as error:
        reason = f"has a type without a JSON form: {error.reason}"
        _refuse(function, error.name, reason, _JSON_TYPES, cause=error)
    doc = parse_docstring(_docstring(function), parameters)
    properties: dict[str, JsonObject] = {}
    for name, hint in hints.items():
        properties[name] = _property(
            description.schemas[name],
            explain(hint) or doc.parameters.get(name, ""),
            parameters[name].default,
            description.readers[name],
        )
    schema: dict[str, JsonValue] = {
        "type": "object",
        "properties": properties,
        "required": [name for name in hints if parameters[name].default is inspect.Parameter.empty],
        "additionalProperties": False,
    }
    if description.definitions:
        schema["$defs"] = description.definitions
    return CallSchema(
        # Once through bytes: a default may hold a tuple, and nothing here may be shared with a type.
        json_schema=msgspec.json.decode(msgspec.json.encode(schema)),
        description=doc.description,
        injected=injected[0] if injected else None,
        _readers=description.readers,
    )


def _parameters(function: Callable[..., object]) -> Mapping[str, inspect.Parameter]:
    """Read the signature and refuse what a model could not call."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError) as error:
        sentence = f"`{_name(function)}` has no signature that Python can read ({error})"
        remedy = "wrap it in a function with annotated parameters"
        raise _invalid_signature(function, None, sentence, remedy) from error
    for parameter in parameters.values():
        _check_kind(function, parameter)
    return parameters


def _property(
    schema: JsonObject, text: str, default: object, read: Callable[[JsonValue], object]
) -> JsonObject:
    """Complete one parameter's schema with its description and its default."""
    schema = {key: value for key, value in schema.items() if key != "default"}
    if text:
        schema["description"] = text
    if default is not inspect.Parameter.empty:
        try:
            shown = msgspec.json.decode(canonical(_ordered(default)))
            read(shown)
        except (LashError, *READ_ERRORS):
            # A default without a JSON form, or one its own annotation refuses (`x: int = None`):
            # a model must not be shown what it may not send.
            return schema
        schema["default"] = shown
    return schema


def _ordered(default: object) -> object:
    """Turn a default into plain data whose sets have the same order in every run."""

    def dump(value: object) -> object:
        model_dump = getattr(value, "model_dump", None)
        if callable(model_dump):
            return model_dump()
        message = f"a {type(value).__name__} has no JSON form"
        raise TypeError(message)

    return msgspec.to_builtins(default, order="deterministic", enc_hook=dump)


def _check_kind(function: Callable[..., object], parameter: inspect.Parameter) -> None:
    """Refuse what cannot be passed by name, has no annotation, or hides it in the default."""
    if parameter.kind in _REFUSED_KINDS:
        _refuse(function, parameter.name, *_REFUSED_KINDS[parameter.kind])
    if parameter.annotation is inspect.Parameter.empty:
        remedy = f"annotate it, for example `{parameter.name}: str`"
        if parameter.name in {"self", "cls"}:
            remedy = "declare the tool from a bound method (`instance.method`) or a plain function"
        _refuse(function, parameter.name, "has no annotation", remedy)
    if type(parameter.default).__name__ == "FieldInfo":
        reason = "has a pydantic Field as its default, which the function would receive as it is"
        remedy = f"write `{parameter.name}: Annotated[<type>, Field(...)]`"
        _refuse(function, parameter.name, reason, remedy)


def _resolve(
    function: Callable[..., object],
    parameters: Mapping[str, inspect.Parameter],
    injected_type: type | None,
) -> dict[str, object]:
    """Evaluate every parameter's annotation, in the names its author saw."""
    target = _underlying(function)
    module_names: dict[str, object] = getattr(target, "__globals__", {})
    local_names = _local_names(target, module_names)
    if injected_type is not None and injected_type.__name__ not in module_names:
        # The context's type is often imported for type checkers only.
        local_names.setdefault(injected_type.__name__, injected_type)
    hints: dict[str, object] = {}
    for name, parameter in parameters.items():
        try:
            hints[name] = _evaluate(parameter.annotation, module_names, local_names)
        except NameError as error:
            reason = f"has an annotation that cannot be resolved at run time ({error})"
            remedy = "import that name where the function is defined, not for type checkers only"
            _refuse(function, name, reason, remedy, cause=error)
        except (TypeError, SyntaxError, AttributeError) as error:
            reason = f"has an annotation that is no type ({error})"
            _refuse(function, name, reason, "annotate it with a type", cause=error)
    return hints


def _evaluate(
    annotation: object, module_names: dict[str, object], local_names: dict[str, object]
) -> object:
    def carrier() -> None:
        """Carry one annotation: `get_type_hints` reads functions and classes only."""

    carrier.__annotations__ = {"it": annotation}
    return typing.get_type_hints(carrier, module_names, local_names, include_extras=True)["it"]


def _local_names(target: object, module_names: Mapping[str, object]) -> dict[str, object]:
    """Collect the names of the functions and classes that `target` was defined in.

    Those still running (while a decorator is at work) are on the stack; of those that have returned,
    the names that `target` itself uses are in its closure.
    """
    names: dict[str, object] = {}
    qualname = getattr(target, "__qualname__", "")
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_globals is module_names and qualname.startswith(frame.f_code.co_qualname + "."):
            names = {**frame.f_locals, **names}
        frame = frame.f_back
    code: CodeType | None = getattr(target, "__code__", None)
    cells = getattr(target, "__closure__", None) or ()
    for name, cell in zip(code.co_freevars if code else (), cells, strict=True):
        try:
            names[name] = cell.cell_contents
        except ValueError:
            continue  # not assigned yet: the function's own name, for one
    return names


def _underlying(function: object) -> object:
    """Find the function its author wrote: below partials, bound methods, wrappers and instances."""
    if isinstance(function, functools.partial):
        return _underlying(function.func)
    if inspect.ismethod(function):
        return _underlying(function.__func__)
    if hasattr(function, "__wrapped__"):
        return _underlying(function.__wrapped__)
    if inspect.isroutine(function) or isinstance(function, type):
        return function
    return _underlying(type(function).__call__)


def _docstring(function: Callable[..., object]) -> str | None:
    """Take the function's own docstring; an instance or a partial has only its type's."""
    source = function if inspect.isroutine(function) else _underlying(function)
    return source.__doc__


def _is_injected(hint: object, injected_type: type | None) -> bool:
    if injected_type is None:
        return False
    if get_origin(hint) is Annotated:
        return _is_injected(get_args(hint)[0], injected_type)
    if type(None) in get_args(hint):
        rest = [each for each in get_args(hint) if each is not type(None)]
        return len(rest) == 1 and _is_injected(rest[0], injected_type)
    kind = get_origin(hint) or hint
    return isinstance(kind, type) and injected_type in kind.__mro__


def _name(function: object) -> str:
    target = _underlying(function)
    return str(getattr(target, "__qualname__", type(function).__qualname__))


def _refuse(
    function: Callable[..., object],
    parameter: str,
    reason: str,
    remedy: str,
    *,
    cause: Exception | None = None,
) -> NoReturn:
    sentence = f"parameter `{parameter}` of `{_name(function)}` {reason}"
    raise _invalid_signature(function, parameter, sentence, remedy) from cause


def _invalid_signature(
    function: object, parameter: str | None, sentence: str, remedy: str
) -> ConfigurationError:
    return ConfigurationError(
        "tool_signature_invalid",
        f"This function cannot become a tool: {sentence}. To mend it, {remedy}.",
        function=_name(function),
        parameter=parameter,
    )


def _invalid_arguments(problems: list[str]) -> LashError:
    return LashError(
        "invalid_tool_args",
        f"The arguments do not fit: {'; '.join(problems)}. Correct them and call again.",
        problems=problems,
    )
