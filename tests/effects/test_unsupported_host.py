"""A host that keeps no promises says so; only a resolver is answered like any other."""

from collections.abc import Awaitable, Callable

import pytest

from lash.core.errors import LashError
from lash.core.scopes import RuntimeOperationScope
from lash.effects.journal import RetireOperation
from lash.effects.unsupported import UnsupportedOperations
from lash.effects.waits.keys import mint
from lash.effects.waits.model import CustomWait, ResolvedOk, UnknownOrRevoked

SCOPE = RuntimeOperationScope(operation_id="o")
WAIT = CustomWait(key="approved")
KEY = mint(b"s" * 32, SCOPE, WAIT)


@pytest.mark.parametrize(
    ("ask", "code"),
    [
        (lambda host: host.await_event_key(SCOPE, WAIT), "await_event_unsupported"),
        (lambda host: host.peek_await_event(KEY), "await_event_unsupported"),
        (lambda host: host.await_await_event(KEY), "await_event_unsupported"),
        (lambda host: host.revoke_await_events_for_session("s"), "await_event_unsupported"),
        (lambda host: host.cancel_await_events_for_session("s"), "await_event_cancel_unsupported"),
        (
            lambda host: host.retire_effect_journal(RetireOperation(operation_id="o")),
            "effect_journal_retirement_unsupported",
        ),
    ],
)
async def test_what_a_host_cannot_do_is_an_error(
    ask: Callable[[UnsupportedOperations], Awaitable[object]], code: str
) -> None:
    with pytest.raises(LashError) as refused:
        await ask(UnsupportedOperations())
    assert refused.value.code == code


async def test_a_resolver_gets_the_one_answer_for_keys_nobody_knows() -> None:
    outcome = await UnsupportedOperations().resolve_await_event(KEY, ResolvedOk(payload=1))
    assert outcome == UnknownOrRevoked()
