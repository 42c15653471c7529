"""Plans: verbs and decisions as they travel."""

import pytest
from pydantic import ValidationError

from shared.models.plan import Decision, Verb


def test_every_verb_but_remove_puts_objects_onto_a_cluster() -> None:
    assert {verb for verb in Verb if not verb.applies} == {Verb.REMOVE}


@pytest.mark.parametrize("bad", [{"replicas": -1}, {"cluster": "A"}, {"revision": 0}, {"verb": "explode"}, {"more": 1}])
def test_a_bad_decision_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Decision.model_validate({"verb": "deploy", "cluster": "eu", "replicas": 1, **bad})
