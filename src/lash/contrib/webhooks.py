"""Events that come in over HTTP: what a request says becomes an event, once, whatever server took it.

It has no server of its own: hand it the headers and the body as they came. A sender that hears nothing
sends again, so each delivery is known by a header of the sender's, or by its content.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from lash.core.errors import ConfigurationError, LashError
from lash.core.json import JsonValue
from lash.runtime.triggers.events import TriggerEvent
from lash.runtime.triggers.reports import EmitReport
from lash.triggers.identities import source_key_of

#: A body that is larger is refused before it is looked at.
MOST_BYTES = 1_000_000


class Emitter(Protocol):
    """What a webhook needs of `runtime.triggers`."""

    async def emit(
        self,
        event: TriggerEvent | str,
        payload: object = None,
        *,
        key: str | None = None,
        source: object = None,
    ) -> EmitReport:
        """Say that something occurred."""
        ...


@dataclass(frozen=True)
class Webhook:
    """What a sender of webhooks sends, as an event.

        hook = Webhook("github.push", id_header="X-GitHub-Delivery", secret=os.environ["HOOK_SECRET"])

        report = await hook.receive(runtime.triggers, request.headers, await request.body())

    Answer the sender with success once this returns; with 401 on `webhook_signature_invalid`, 400 on
    `webhook_body_invalid` and `trigger_payload_invalid`, 409 on `trigger_occurrence_conflict`.

    Attributes:
        event: The event, one of the runtime's `triggers`.
        secret: The secret that sender and receiver share; without it, signatures are not looked at.
        signature_header: Where the HMAC-SHA256 of the body stands, as hex; a prefix `sha256=` is taken.
        id_header: Where the sender's own name for the delivery stands, which is the same when it is
            sent again. Without one, the same body is the same delivery.
        source: Which sender it is, if several emit the same event.
        most_bytes: How large a body may be.
    """

    event: TriggerEvent | str
    secret: str | bytes | None = field(default=None, repr=False)
    signature_header: str = "X-Hub-Signature-256"
    id_header: str | None = None
    source: JsonValue = None
    most_bytes: int = MOST_BYTES

    def __post_init__(self) -> None:
        if self.secret is not None and not self.secret:
            raise ConfigurationError(
                "webhook_secret_blank",
                "The secret of a webhook is empty, so anybody could sign with it. Give it one, or "
                "None where signatures are checked elsewhere.",
            )

    async def receive(
        self, triggers: Emitter, headers: Mapping[str, str], body: bytes
    ) -> EmitReport:
        """Emit what a request says; the same delivery again is the same occurrence.

        Args:
            triggers: `runtime.triggers`.
            headers: The request's headers, in any case.
            body: The request's body, byte for byte as it came: a signature is over bytes.

        Raises:
            LashError: `webhook_signature_invalid`, `webhook_body_invalid`; nothing was emitted. What
                `emit` raises.
        """
        named = {name.lower(): value for name, value in headers.items()}
        if len(body) > self.most_bytes:
            raise _body(f"it is larger than {self.most_bytes} bytes")
        self._check_signature(named, body)
        try:
            payload: JsonValue = msgspec.json.decode(body)
        except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
            raise _body("it is not JSON") from error
        return await triggers.emit(
            self.event, payload, key=self._key(named, body), source=self.source
        )

    def _key(self, headers: Mapping[str, str], body: bytes) -> str:
        name = self.event.name if isinstance(self.event, TriggerEvent) else self.event
        if self.source is not None:  # the ids of several senders may be the same
            name = source_key_of(name, self.source)
        if self.id_header is None:
            return f"webhook:{name}:sha256:{hashlib.sha256(body).hexdigest()}"
        given = headers.get(self.id_header.lower(), "")
        if not given.strip():
            raise _body(f"the request has no header {self.id_header}")
        return f"webhook:{name}:id:{given.strip()}"

    def _check_signature(self, headers: Mapping[str, str], body: bytes) -> None:
        if self.secret is None:
            return
        secret = self.secret.encode() if isinstance(self.secret, str) else self.secret
        given = headers.get(self.signature_header.lower(), "").strip().removeprefix("sha256=")
        wanted = hmac.new(secret, body, hashlib.sha256).hexdigest()
        # In bytes: text that is not ASCII would be refused with another error.
        if not hmac.compare_digest(wanted.encode(), given.lower().encode("utf-8", "replace")):
            raise LashError(
                "webhook_signature_invalid",
                f"The signature in {self.signature_header} is missing, or is not that of this body "
                "under the shared secret; nothing was emitted.",
            )


def _body(why: str) -> LashError:
    return LashError(
        "webhook_body_invalid", f"The request cannot be taken: {why}; nothing was emitted."
    )
