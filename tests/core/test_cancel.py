"""Cancel tokens: tripped once, heard by everybody, told to children."""

import pytest

from lash.core.cancel import Cancellation, CancelToken

FIRST = Cancellation(request_id="1", origin="host", reason="enough")
SECOND = Cancellation(request_id="2")


def test_a_fresh_token_is_not_cancelled() -> None:
    token = CancelToken()
    assert not token.cancelled
    assert token.cancellation is None


def test_the_first_cancellation_stays() -> None:
    token = CancelToken()
    assert token.cancel(FIRST) is True
    assert token.cancel(SECOND) is False
    assert token.cancelled
    assert token.cancellation == FIRST


def test_every_callback_is_called_once_in_the_order_of_subscription() -> None:
    token = CancelToken()
    heard: list[tuple[str, Cancellation]] = []
    token.on_cancel(lambda cancellation: heard.append(("a", cancellation)))
    token.on_cancel(lambda cancellation: heard.append(("b", cancellation)))
    token.cancel(FIRST)
    token.cancel(SECOND)
    assert heard == [("a", FIRST), ("b", FIRST)]


def test_who_subscribes_late_is_told_at_once() -> None:
    token = CancelToken()
    token.cancel(FIRST)
    heard: list[Cancellation] = []
    unsubscribe = token.on_cancel(heard.append)
    unsubscribe()
    assert heard == [FIRST]


def test_who_unsubscribed_is_not_told() -> None:
    token = CancelToken()
    heard: list[Cancellation] = []
    token.on_cancel(heard.append)()
    token.cancel(FIRST)
    assert heard == []


def test_unsubscribing_twice_takes_nobody_elses_subscription() -> None:
    token = CancelToken()
    heard: list[Cancellation] = []
    unsubscribe = token.on_cancel(heard.append)
    token.on_cancel(heard.append)
    unsubscribe()
    unsubscribe()
    token.cancel(FIRST)
    assert heard == [FIRST]


def test_children_and_grandchildren_follow_their_parent() -> None:
    parent = CancelToken()
    child = CancelToken(parent)
    grandchild = CancelToken(child)
    parent.cancel(FIRST)
    assert child.cancellation == grandchild.cancellation == FIRST


def test_a_child_of_a_cancelled_parent_is_born_cancelled() -> None:
    parent = CancelToken()
    parent.cancel(FIRST)
    assert CancelToken(parent).cancellation == FIRST


def test_a_child_leaves_its_parent_and_siblings_alone() -> None:
    parent = CancelToken()
    child, sibling = CancelToken(parent), CancelToken(parent)
    child.cancel(FIRST)
    assert not parent.cancelled
    assert not sibling.cancelled
    parent.cancel(SECOND)
    assert child.cancellation == FIRST
    assert sibling.cancellation == SECOND


def test_a_callback_that_fails_keeps_nobody_from_hearing() -> None:
    token = CancelToken()
    heard: list[Cancellation] = []

    def fail(cancellation: Cancellation) -> None:
        raise ValueError(cancellation.request_id)

    token.on_cancel(fail)
    child = CancelToken(token)
    token.on_cancel(heard.append)
    with pytest.raises(ExceptionGroup) as caught:
        token.cancel(FIRST)
    assert [str(error) for error in caught.value.exceptions] == ["1"]
    assert heard == [FIRST]
    assert child.cancelled
    assert token.cancelled


def test_a_callback_that_cancels_again_changes_nothing() -> None:
    token = CancelToken()
    answers: list[bool] = []
    token.on_cancel(lambda _: answers.append(token.cancel(SECOND)))
    token.cancel(FIRST)
    assert answers == [False]
    assert token.cancellation == FIRST
