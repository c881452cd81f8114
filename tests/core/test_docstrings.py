import pytest

from lash.core.docstrings import parse_docstring

GOOGLE = """Look up one order.

    Slow for orders older than a year.

    Args:
        order_id: The id printed on the
            receipt.
        region (str | None): Where it was bought: EU or US.

            Left out, all regions are searched.
        stale: Named here, gone from the signature.

    Returns:
        The order.
    """

NUMPY = """Look up one order.

    Slow for orders older than a year.

    Parameters
    ----------
    order_id : str
        The id printed on the
        receipt.
    region : str, optional
        Where it was bought: EU or US.

        Left out, all regions are searched.
    stale
        Named here, gone from the signature.

    Returns
    -------
    dict
        The order.
    """

SPHINX = """Look up one order.

    Slow for orders older than a year.

    :param order_id: The id printed on the
        receipt.
    :type order_id: str
    :param str region: Where it was bought: EU or US.
    :param stale: Named here, gone from the signature.
    :returns: The order.
    """

PLAIN = """Look up one order.

    Slow for orders older than a year.

    order_id: The id printed on the
        receipt.
    region: Where it was bought: EU or US.
    """

NAMES = ("order_id", "region")
HEAD = "Look up one order.\n\nSlow for orders older than a year."
ORDER_ID = "The id printed on the receipt."
REGION = "Where it was bought: EU or US."
REGION_IN_TWO_PARAGRAPHS = f"{REGION}\n\nLeft out, all regions are searched."


@pytest.mark.parametrize(
    ("doc", "description", "region"),
    [
        (GOOGLE, f"{HEAD}\n\nReturns:\n    The order.", REGION_IN_TWO_PARAGRAPHS),
        (NUMPY, f"{HEAD}\n\nReturns\n-------\ndict\n    The order.", REGION_IN_TWO_PARAGRAPHS),
        (SPHINX, f"{HEAD}\n\n:returns: The order.", REGION),
        (PLAIN, HEAD, REGION),
    ],
    ids=["google", "numpy", "sphinx", "plain"],
)
def test_every_style_gives_the_head_and_the_known_parameters(
    doc: str, description: str, region: str
) -> None:
    parsed = parse_docstring(doc, NAMES)
    assert parsed.description == description
    assert parsed.parameters == {"order_id": ORDER_ID, "region": region}


@pytest.mark.parametrize("doc", [None, "", "   \n  "])
def test_no_docstring_says_nothing(doc: str | None) -> None:
    parsed = parse_docstring(doc, NAMES)
    assert parsed.description == ""
    assert parsed.parameters == {}


def test_a_last_paragraph_with_other_names_is_prose() -> None:
    doc = "Look up.\n\norder_id: the id.\nWarning: slow."
    parsed = parse_docstring(doc, NAMES)
    assert parsed.description == doc
    assert parsed.parameters == {}


def test_plain_lines_before_the_last_paragraph_are_prose() -> None:
    doc = "Look up.\n\norder_id: the id.\n\nThat is all."
    assert parse_docstring(doc, NAMES).parameters == {}


def test_a_docstring_of_nothing_but_parameters_has_no_head() -> None:
    parsed = parse_docstring("order_id: the id.", NAMES)
    assert parsed.description == ""
    assert parsed.parameters == {"order_id": "the id."}


def test_a_list_in_a_description_keeps_its_lines() -> None:
    doc = """Search.

    Args:
        order_id: One of
            - a number
            - a code that
              may wrap
        region: Where.
    """
    assert parse_docstring(doc, NAMES).parameters == {
        "order_id": "One of\n- a number\n- a code that may wrap",
        "region": "Where.",
    }


def test_a_header_without_an_indented_block_is_prose() -> None:
    doc = "Explain what args mean.\n\nArgs:\nNone to speak of."
    assert parse_docstring(doc, NAMES).description == doc


def test_numpy_names_may_share_a_description_and_follow_another_section() -> None:
    doc = """Search.

    Notes
    -----
    Slow.

    Other Parameters
    ----------------
    order_id, region : str
        Any text.
    """
    parsed = parse_docstring(doc, NAMES)
    assert parsed.parameters == {"order_id": "Any text.", "region": "Any text."}
    assert parsed.description == "Search.\n\nNotes\n-----\nSlow."


def test_types_with_brackets_do_not_confuse_google_entries() -> None:
    doc = "Search.\n\nArgs:\n    order_id (dict[str, tuple(int, str)], optional): The id.\n    *region: Rest."
    assert parse_docstring(doc, NAMES).parameters == {"order_id": "The id.", "region": "Rest."}


def test_sphinx_fields_end_at_a_blank_line() -> None:
    doc = "Search.\n\n:param order_id: The id.\n\nMore prose."
    parsed = parse_docstring(doc, NAMES)
    assert parsed.parameters == {"order_id": "The id."}
    assert parsed.description == "Search.\n\nMore prose."


def test_a_colon_in_a_continuation_begins_no_entry() -> None:
    doc = "Search.\n\nArgs:\n    order_id: The id.\n        region: not this one.\n"
    assert parse_docstring(doc, NAMES).parameters == {"order_id": "The id. region: not this one."}
