"""Framed identities: what is held outside means the same for ever, and two things never look alike."""

import hashlib
from collections.abc import Callable
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lash.core.identity import Frame, identity

Field: TypeAlias = tuple[str, str | bytes | int]

texts = st.text(max_size=6).map(lambda value: ("text", value))
datas = st.binary(max_size=6).map(lambda value: ("data", value))
numbers = st.integers(0, 2**64 - 1).map(lambda value: ("number", value))
tags = st.integers(0, 255).map(lambda value: ("tag", value))


def written(fields: list[Field], domain: str = "d", version: int = 1) -> bytes:
    frame = Frame(domain, version)
    for kind, value in fields:
        write: Callable[..., Frame] = getattr(frame, kind)
        write(value)
    return frame.preimage()


def test_the_bytes_are_these() -> None:
    frame = Frame("lash.test", 3).tag(5).text("é").number(258).data(b"\0")
    assert frame.preimage() == (
        b"lash-stable-identity"
        b"\x01\x03"
        b"\0\0\0\0\0\0\0\x09lash.test"
        b"\x05"
        b"\0\0\0\0\0\0\0\x02\xc3\xa9"
        b"\0\0\0\0\0\0\x01\x02"
        b"\0\0\0\0\0\0\0\x01\0"
    )


def test_an_identity_is_a_versioned_hash_of_the_bytes() -> None:
    preimage = b"lash-stable-identity\x01\x02\0\0\0\0\0\0\0\x01d\0\0\0\0\0\0\0\x01x"
    expected = hashlib.sha256(preimage).hexdigest()
    assert identity("thing", 2, Frame("d", 2).text("x")) == f"thing:v2:sha256:{expected}"


def test_an_identity_that_was_handed_out_stays() -> None:
    """Written down when keys were first handed out: it must never come to anything else."""
    assert identity("thing", 2, Frame("d", 2).text("x")) == (
        "thing:v2:sha256:9d3ea6d77f3d99e71a8a024c53bd9ace37ba05f2ef696776145ae118d70781c3"
    )


@given(
    st.lists(st.one_of(texts, numbers), min_size=1, max_size=4),
    st.lists(st.one_of(texts, numbers), min_size=1, max_size=4),
)
def test_fields_never_run_together(one: list[Field], other: list[Field]) -> None:
    """Given fields of the same kinds in the same order, as every domain writes them."""
    same_shape = [kind for kind, _ in one] == [kind for kind, _ in other]
    if same_shape:
        assert (written(one) == written(other)) == (one == other)


@given(st.lists(texts, max_size=5), st.lists(texts, max_size=5))
def test_any_two_lists_of_texts_differ(one: list[Field], other: list[Field]) -> None:
    assert (written(one) == written(other)) == (one == other)


@given(st.one_of(texts, datas, numbers, tags))
def test_the_domain_and_the_version_are_part_of_it(field: Field) -> None:
    found = {written([field], domain, version) for domain in "de" for version in (1, 2)}
    assert len(found) == 4


@pytest.mark.parametrize("number", [-1, 2**64, 10**30])
def test_a_number_that_does_not_fit_is_an_overflow(number: int) -> None:
    with pytest.raises(OverflowError):
        Frame("d", 1).number(number)


@pytest.mark.parametrize("tag", [-1, 256])
def test_a_tag_that_does_not_fit_is_refused(tag: int) -> None:
    with pytest.raises(ValueError, match="256"):
        Frame("d", 1).tag(tag)


def test_text_that_utf8_cannot_carry_is_refused() -> None:
    with pytest.raises(UnicodeEncodeError):
        Frame("d", 1).text("\ud800")
