"""Label selectors: what they may say, and what each part means."""

import pytest

from shared.models.selector import Operator, Requirement, parse


def test_every_form_of_a_requirement_is_read_as_kubernetes_reads_it() -> None:
    assert parse(" a=1,b == 2 , c!=3,example.com/d in ( x , y ),e notin (z,),f,!g,h= ") == (
        Requirement("a", Operator.IN, ("1",)),
        Requirement("b", Operator.IN, ("2",)),
        Requirement("c", Operator.NOT_IN, ("3",)),
        Requirement("example.com/d", Operator.IN, ("x", "y")),
        Requirement("e", Operator.NOT_IN, ("z", "")),
        Requirement("f", Operator.EXISTS),
        Requirement("g", Operator.DOES_NOT_EXIST),
        Requirement("h", Operator.IN, ("",)),
    )
    assert parse("  ") == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a=1,,b", "is no requirement"),
        ("a>1", "must be a label key"),
        ("a in x", "is no requirement"),
        ("a=b'--", "must be a label value"),
        ("a in (" + ",".join("x" * 51) + ")", "at most 50 values"),
        (",".join("a" * 21), "at most 20 requirements"),
    ],
)
def test_a_mistake_is_named(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse(text)
