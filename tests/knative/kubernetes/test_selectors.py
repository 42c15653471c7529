import pytest
from hypothesis import given
from hypothesis import strategies as st

from knative.local.kubernetes import selectors
from knative.local.kubernetes.errors import ApiError
from knative.local.kubernetes.kinds import DEPLOYMENT, POD

LABELS = {"app": "web", "size": "5", "example.dev/team": "x"}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("app=web", True),
        ("app==web, size=5", True),
        ("app!=web", False),
        ("none!=x", True),
        ("app in (web,api)", True),
        ("app notin (web)", False),
        ("example.dev/team", True),
        ("!example.dev/team", False),
        ("app=", False),
    ],
)
def test_label_selectors(text: str, matches: bool) -> None:
    assert selectors.matches(selectors.parse_labels(text), LABELS) is matches


@pytest.mark.parametrize("text", ["a in b", "size>4", "a=b c", "=", "a=!", "(", "a in (b", "-a=b"])
def test_malformed_label_selectors_are_a_400(text: str) -> None:
    with pytest.raises(ApiError) as refused:
        selectors.parse_labels(text)
    assert refused.value.code == 400


_names = st.from_regex(r"[a-z]{1,5}", fullmatch=True)


@given(st.dictionaries(_names, _names, min_size=1, max_size=4))
def test_a_selector_object_reads_back_from_its_text(labels: dict[str, str]) -> None:
    selector = selectors.of_object({"matchLabels": labels})
    assert set(selectors.parse_labels(selectors.text_of(selector))) == set(selector)
    assert set(selectors.equalities(selector)) == set(labels.items())


def test_a_selector_object_that_is_incomplete_selects_nothing() -> None:
    broken = selectors.of_object({"matchExpressions": [{"key": "app"}, {"operator": "Gt", "key": "size"}]})
    assert not any(requirement.matches(LABELS) for requirement in broken)


def test_field_selectors_know_the_fields_of_their_kind() -> None:
    running = selectors.parse_fields("status.phase=Running,metadata.name!=x", POD)
    match = selectors.matcher((), running)
    assert match is not None
    assert match({"metadata": {"name": "y"}, "status": {"phase": "Running"}})
    assert not match({"metadata": {"name": "x"}, "status": {"phase": "Running"}})
    with pytest.raises(ApiError):
        selectors.parse_fields("status.phase=Running", DEPLOYMENT)
