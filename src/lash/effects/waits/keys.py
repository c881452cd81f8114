"""Minting and checking keys: derived from scope, wait and the store's secret; nothing is looked up.

Minting is pure: the same scope and wait give the same key in every process over one store, and
nothing is registered by it. Checking derives the key again and compares in constant time.
"""

import base64
import binascii
import hashlib
import hmac

import msgspec

from lash.core.errors import LashError
from lash.core.identity import Frame, identity
from lash.core.scopes import (
    ExecutionScope,
    ProcessScope,
    QueueDrainScope,
    RuntimeOperationScope,
    SessionDeleteScope,
    TurnScope,
    validate_scope,
)
from lash.effects.waits.model import (
    TOKEN_PREFIX,
    AwaitEventKey,
    AwaitEventWaitIdentity,
    CustomWait,
    ProcessSignalWait,
    ToolCompletionWait,
    TurnCancelGateWait,
    TurnTerminalWait,
    validate_wait,
)

#: Keys are held outside, so a change of their derivation is a new version, and the old one is kept.
KEY_VERSION = 3
SECRET_BYTES = 32

_KEY: msgspec.json.Decoder[AwaitEventKey] = msgspec.json.Decoder(AwaitEventKey)


def mint(secret: bytes, scope: ExecutionScope, wait: AwaitEventWaitIdentity) -> AwaitEventKey:
    """The key of a wait.

    Raises:
        LashError: `missing_execution_scope_id`, `invalid_await_event_wait_identity`.
    """
    validate_scope(scope)
    validate_wait(wait)
    frame = _frame(scope, wait)
    key_id = identity("await-event", KEY_VERSION, frame)
    return AwaitEventKey(
        scope=scope, wait=wait, key_id=key_id, signature=_sign(secret, frame, key_id)
    )


def is_genuine(secret: bytes, key: AwaitEventKey) -> bool:
    """Whether a key was minted with this secret, for exactly this scope and wait."""
    try:
        expected = mint(secret, key.scope, key.wait)
    except (LashError, ValueError, OverflowError):  # blank, not UTF-8, an ordinal beyond 64 bits
        return False
    # Both are compared whatever the first comes to, so that time tells nothing.
    same_id = hmac.compare_digest(expected.key_id.encode(), _bytes(key.key_id))
    same_signature = hmac.compare_digest(expected.signature.encode(), _bytes(key.signature))
    return same_id & same_signature


def key_from_text(text: str) -> AwaitEventKey | None:
    """A key from its token or its JSON; None when it is neither."""
    text = text.strip()
    try:
        if text.startswith(TOKEN_PREFIX):
            packed = text.removeprefix(TOKEN_PREFIX)
            return _KEY.decode(base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)))
        return _KEY.decode(text)
    except (msgspec.MsgspecError, binascii.Error, ValueError, RecursionError):
        return None


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")


def _sign(secret: bytes, frame: Frame, key_id: str) -> str:
    signed = Frame("lash.await-event-auth", KEY_VERSION).data(frame.preimage()).text(key_id)
    return hmac.new(secret, signed.preimage(), hashlib.sha256).hexdigest()


def _frame(scope: ExecutionScope, wait: AwaitEventWaitIdentity) -> Frame:
    return _write_wait(_write_scope(Frame("lash.await-event", KEY_VERSION), scope), wait)


def _write_scope(frame: Frame, scope: ExecutionScope) -> Frame:
    match scope:
        case TurnScope(session_id=session, turn_id=turn):
            return frame.tag(1).text(session).text(turn)
        case ProcessScope(process_id=process):
            return frame.tag(2).text(process)
        case QueueDrainScope(session_id=session, drain_id=drain):
            return frame.tag(3).text(session).text(drain)
        case SessionDeleteScope(session_id=session):
            return frame.tag(4).text(session)
        case RuntimeOperationScope(operation_id=operation):
            return frame.tag(5).text(operation)


def _write_wait(frame: Frame, wait: AwaitEventWaitIdentity) -> Frame:
    match wait:
        case ToolCompletionWait(tool_call_id=call):
            return frame.tag(1).text(call)
        case ProcessSignalWait(process_id=process, signal_name=name, ordinal=ordinal):
            return frame.tag(2).text(process).text(name).number(ordinal)
        case TurnCancelGateWait():
            return frame.tag(3)
        case TurnTerminalWait():
            return frame.tag(4)
        case CustomWait(key=key):
            return frame.tag(5).text(key)
