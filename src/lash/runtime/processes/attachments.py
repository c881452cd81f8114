"""The attachments of a process: what it puts is recorded by reference, and stays as long as it is kept."""

import hashlib
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TypeAlias

from lash.attachments.model import Attachment, AttachmentRef
from lash.core.json import JsonValue
from lash.core.typed import typed_value
from lash.effects import keys
from lash.runtime.attachments import AttachmentContent, SessionAttachmentStore
from lash.runtime.processes.code import ProcessCode
from lash.runtime.steps import ONCE, Step, run_step

_NAME = "attachment.put"
_REF = typed_value(AttachmentRef, "An attachment's reference")

OpenStore: TypeAlias = Callable[[], SessionAttachmentStore]


class ProcessAttachments:
    """Files and pictures of one process. See `ProcessContext.attachments`."""

    def __init__(self, code: ProcessCode, store: OpenStore) -> None:
        self._code = code
        self._store = store

    def __repr__(self) -> str:
        return f"ProcessAttachments({self._code.id!r})"

    def put(
        self,
        content: AttachmentContent,
        *,
        media_type: str | None = None,
        label: str | None = None,
    ) -> Coroutine[object, object, AttachmentRef]:
        """Keep bytes, or those of a file, as a step of the process: a later run is given the reference.

        Args:
            content: The bytes, or the path of a file, which is read on the first run only.
            media_type: What they are; found out from the first bytes or the file's name by default.
            label: What people call them.

        Raises:
            StepError: With the code of what went wrong, such as `attachment_too_large`; recorded.
            StoreError: They could not be stored now; nothing is recorded.
            LashError: `process_context_misused`.
        """
        store = self._store

        async def call() -> AttachmentRef:
            return await store().put(content, media_type=media_type, label=label)

        ordinal = self._code.take(f"step:{_NAME}")
        step: Step[AttachmentRef] = Step(
            key=self._code.placed(keys.step_key(_NAME, ordinal)),
            name=_NAME,
            call=call,
            given=[_given(content), {"media_type": media_type, "label": label}],
            result=_REF,
            retry=ONCE,
            timeout_s=None,
        )

        async def run() -> AttachmentRef:
            return await run_step(self._code.controller(), step)

        return run()

    async def get(self, attachment_id: str) -> Attachment:
        """The bytes of something that the process put. They are never recorded.

        Raises:
            LashError: `attachment_id_invalid`, `attachment_not_found`, `process_context_misused`.
            StoreError: `attachment_corrupt`.
        """
        self._code.branch()
        return await self._store().get(attachment_id)


def _given(content: object) -> JsonValue:
    """What tells one content from another, without its bytes."""
    if isinstance(content, Path):
        return {"path": str(content)}
    if isinstance(content, bytes | bytearray | memoryview):
        return {"sha256": hashlib.sha256(content).hexdigest()}
    return {"type": type(content).__name__}
