"""What a user says, as a turn takes it: text, or text and attachments in order."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from lash.attachments.model import (
    Attachment,
    AttachmentRef,
    AttachmentSource,
    ExternalUrlSource,
    InlineSource,
    ProviderFileSource,
    StoredSource,
    check_attachment_id,
)
from lash.attachments.policy import TurnIngressProducer
from lash.attachments.returned import source_of
from lash.core.errors import LashError
from lash.llm.direct import OutputContract
from lash.runtime.attachments import SessionAttachmentStore
from lash.runtime.checks import check_prompt, check_storable
from lash.runtime.tool_attachments import put_source
from lash.sessions.model import AttachmentItem, TextItem, TurnInput
from lash.turn.prompt import PromptLayer

#: One piece of what a user says. A path is a file to attach.
PromptPiece: TypeAlias = (
    str
    | AttachmentRef
    | Attachment
    | Path
    | InlineSource
    | StoredSource
    | ExternalUrlSource
    | ProviderFileSource
)

#: What a user says: text, or text and attachments in order.
Prompt: TypeAlias = str | Sequence[PromptPiece]

_INGRESS = TurnIngressProducer()


class Said:
    """What a user says, checked as far as that is possible before anything is stored.

    Raises:
        LashError: `turn_input_empty`, `turn_input_invalid`.
    """

    def __init__(
        self, prompt: Prompt, contract: OutputContract, prompt_layer: PromptLayer | None
    ) -> None:
        self._pieces = _pieces(prompt)
        self._prompt = prompt_layer
        self._output = contract.spec
        # What is no attachment is checked now, so that nothing is stored for input that is refused.
        self._plain = self._input(
            tuple(TextItem(text=each) for each in self._pieces if isinstance(each, str))
        )

    async def stored(self, attachments: SessionAttachmentStore) -> TurnInput:
        """The input of a turn: what was inline, or a file, is stored, and nothing holds bytes.

        Raises:
            LashError: `attachment_id_invalid`, `attachment_not_admitted`, what putting raises. ConflictError: `session_deleted`. StoreError: It could not be stored.
        """
        if all(isinstance(each, str) for each in self._pieces):
            return self._plain
        items = [await _item(each, attachments) for each in self._pieces]
        return self._input(tuple(items))

    def _input(self, items: tuple[TextItem | AttachmentItem, ...]) -> TurnInput:
        turn_input = TurnInput(items=items, prompt=self._prompt, output=self._output)
        return check_storable(turn_input, "turn_input_invalid", "The input")


def _pieces(prompt: object) -> Sequence[str | Path | AttachmentSource]:
    if isinstance(prompt, str):
        return (check_prompt(prompt),)
    if not isinstance(prompt, list | tuple):
        raise LashError(
            "turn_input_invalid",
            f"The prompt must be text, not {type(prompt).__name__}; nothing was accepted. Attachments and "
            "paths stand in a list: [text, attachment].",
        )
    pieces: list[str | Path | AttachmentSource] = []
    for each in prompt:
        source = source_of(each)
        if source is not None:
            pieces.append(source)
        elif isinstance(each, Path):
            pieces.append(each)
        elif isinstance(each, str):
            if each.strip():
                pieces.append(check_prompt(each))
        else:
            raise LashError(
                "turn_input_invalid",
                "A prompt is made of text, of references that `attachments.put` gave, of paths and of "
                f"attachments such as lash.InlineSource, not of {type(each).__name__}; nothing was "
                "accepted.",
            )
    if not pieces:
        check_prompt("")
    return pieces


async def _item(
    piece: str | Path | AttachmentSource, attachments: SessionAttachmentStore
) -> TextItem | AttachmentItem:
    match piece:
        case str():
            return TextItem(text=piece)
        case Path():
            ref = await attachments.put(piece, label=piece.name, producer=_INGRESS)
        case InlineSource():
            ref = await put_source(piece, attachments, _INGRESS)
        case StoredSource(attachment_ref=named):
            attachments.check(piece, _INGRESS)
            check_attachment_id(named.id)
            ref = named  # whether the session holds it is found out where the input is accepted
        case _:
            attachments.check(piece, _INGRESS)
            return AttachmentItem(source=piece)
    return AttachmentItem(source=StoredSource(attachment_ref=ref))
