"""What is asked of a model: messages in blocks, tools, options (facade spec 14.1)."""

from typing import Literal, TypeAlias

from lash.core.attachments import AttachmentSource
from lash.core.json import Data, JsonObject, JsonValue
from lash.llm.schema_projection import SchemaProjection

LlmRole: TypeAlias = Literal["user", "assistant", "system"]
ToolChoice: TypeAlias = Literal["auto", "none", "required"]


class TextBlock(Data, tag_field="type", tag="text"):
    """Plain text."""

    text: str


class AttachmentBlock(Data, tag_field="type", tag="attachment"):
    """A picture or a document.

    What is asked for, recorded and hashed names a stored one by its id. A provider is given a copy of
    the request in which its bytes stand instead (`InlineSource`), and keeps nothing of it.
    """

    source: AttachmentSource


class ToolCallBlock(Data, tag_field="type", tag="tool_call"):
    """A call the model made. `input_json` is its argument text, byte for byte as it came."""

    call_id: str
    tool_name: str
    input_json: str
    replay: JsonValue = None


class ToolResultBlock(Data, tag_field="type", tag="tool_result"):
    """What a call was answered with.

    `pieces` is empty for text alone; else it is the whole answer, with each attachment at its place,
    and `content` the same with the attachments named.
    """

    call_id: str
    content: str
    tool_name: str | None = None
    pieces: tuple[TextBlock | AttachmentBlock, ...] = ()


class ReasoningBlock(Data, tag_field="type", tag="reasoning"):
    """Reasoning sent back to the provider that produced it; `replay` is its opaque proof."""

    text: str
    replay: JsonValue


LlmBlock: TypeAlias = TextBlock | AttachmentBlock | ToolCallBlock | ToolResultBlock | ReasoningBlock


class LlmMessage(Data):
    """One message as a provider sees it."""

    role: LlmRole
    blocks: tuple[LlmBlock, ...]


class ToolSpec(Data):
    """A tool as it is offered to a model.

    Attributes:
        name: What models call it.
        description: What they are told of it.
        input_schema: The schema of its arguments; a provider is given it in a dialect that it takes.
        projection: How the schema may be told, if there is anything to say.
        strict: The provider is to hold the model to the schema; set where it is told in a strict dialect.
    """

    name: str
    description: str
    input_schema: JsonObject
    projection: SchemaProjection | None = None
    strict: bool = False


class GenerationOptions(Data):
    """How the model should generate; None leaves it to the provider."""

    output_token_cap: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    reasoning_effort: str | None = None


class ModelSpec(Data):
    """Which model, as data the host gives; nothing is guessed from the name.

    Attributes:
        provider: The provider's kind, such as `openai`.
        name: The model's name at that provider.
        context_window_tokens: The prompt budget, if known; feeds the 95 % rule.
        generation: Options for every request.
    """

    provider: str
    name: str
    context_window_tokens: int | None = None
    generation: GenerationOptions = GenerationOptions()


class HistoryRef(Data):
    """The committed part of a transcript, named by content: its first `count` messages."""

    count: int
    digest: str


class LlmScope(Data):
    """Whose request this is. `request_id` is the same however often the request is sent."""

    session_id: str
    request_id: str
    turn_id: str | None = None


class JsonObjectOutput(Data, tag_field="type", tag="json_object"):
    """The answer is to be some JSON object."""


class JsonSchemaOutput(Data, tag_field="type", tag="json_schema"):
    """The answer is to be JSON that fits a schema. `strict` has the provider enforce it, where it takes it."""

    name: str
    json_schema: JsonObject
    strict: bool = False


OutputSpec: TypeAlias = JsonObjectOutput | JsonSchemaOutput


class LlmRequest(Data):
    """One request to a model.

    `instructions` is the system prompt; `messages` is the whole transcript, of which `history`
    names the committed prefix. Requests of one session extend the same prefix. `output` is None for
    plain text. `has_attachments` says whether any message shows one, so that nobody walks the transcript
    of a request that shows none.
    """

    model: ModelSpec
    instructions: str
    messages: tuple[LlmMessage, ...]
    tools: tuple[ToolSpec, ...]
    history: HistoryRef
    scope: LlmScope
    tool_choice: ToolChoice = "auto"
    output: OutputSpec | None = None
    has_attachments: bool = False
