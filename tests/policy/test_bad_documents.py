"""Documents that are refused, with the path of what is wrong: see bad_documents.yaml."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from shared.eventing.processing import describe
from shared.policy.documents import PolicyDocument

BAD = yaml.load(Path(__file__).with_name("bad_documents.yaml").read_text(), yaml.CSafeLoader)


@pytest.mark.parametrize("bad", [pytest.param(bad, id=bad["name"]) for bad in BAD])
def test_a_bad_document_is_refused_with_the_path_of_the_field(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as error:
        PolicyDocument.model_validate(bad["document"])
    assert describe(error.value).startswith(bad["refused"])
