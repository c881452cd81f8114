"""What the final answer of a turn is to be, and how a turn protocol finds out whether it is. Pure."""

from dataclasses import dataclass
from typing import Protocol

from lash.core.errors import DirectError
from lash.llm import direct
from lash.llm.request import JsonObjectOutput, JsonSchemaOutput, OutputSpec


class OutputContract(Protocol):
    """What a turn's final answer is to be.

    The same text must always be judged alike, in the same words: what is said of a text goes into the
    transcript, and a resumed turn says it again.
    """

    @property
    def spec(self) -> OutputSpec | None:
        """What the provider is told with every request of the turn."""
        ...

    def problem(self, text: str) -> str | None:
        """What is wrong with an answer, as it would follow a colon; None when nothing is."""
        ...


@dataclass(frozen=True, slots=True)
class DirectContract:
    """Judges answers as direct completions do."""

    contract: direct.OutputContract

    @property
    def spec(self) -> OutputSpec | None:
        """What the provider is told."""
        return self.contract.spec

    def problem(self, text: str) -> str | None:
        """Why a direct completion would refuse this answer; None when it would take it."""
        try:
            self.contract.read(text)
        except DirectError as error:
            # It says "…is not what was asked for: " first, which whoever asks here says in its own way.
            return error.message.partition(": ")[2] or error.message
        return None


def output_contract(spec: OutputSpec) -> OutputContract:
    """The contract that a stored output spec comes to: some JSON object, or JSON that fits the schema.

    Raises:
        ConfigurationError: `direct_request_invalid`: the schema cannot be used.
    """
    match spec:
        case JsonObjectOutput():
            return DirectContract(direct.output_contract(dict))
        case JsonSchemaOutput(json_schema=schema):
            read = direct.output_contract(schema).read
            return DirectContract(direct.OutputContract(spec=spec, read=read))


def correction_text(spec: OutputSpec | None, problem: str) -> str:
    """What a model is told whose answer has this problem, and what it is to answer with."""
    wanted = "Answer again"
    if isinstance(spec, JsonObjectOutput):
        wanted += " with one JSON object and nothing else: no prose, no code fence"
    elif isinstance(spec, JsonSchemaOutput):
        wanted += f" with JSON that fits the schema `{spec.name}` and nothing else: no prose, no code fence"
    return f"That answer cannot be used: {problem.rstrip('.')}. {wanted}."
