"""Requests made from /openapi.json, good and bad, as several roles: no 5xx, and nothing that it does not declare."""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from functions.api.app import build
from shared.models.identity import Role
from tests.support.builders import Deliver
from tests.support.rest import NO_SERVICES, Rest

pytestmark = pytest.mark.slow

ROLES = ("admin", "viewer", "submitter")
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]

schema = schemathesis.openapi.from_dict(build(NO_SERVICES).openapi()).exclude(path="/api/v1/events/stream")


@pytest.fixture
def asked(rest: Rest, deliver: Deliver) -> Rest:
    """The API with a workload to find, and users of two roles beside the admin."""
    deliver.submit("chat")
    rest.bind("viewer", Role.VIEWER, "search")
    rest.bind("submitter", Role.SUBMITTER, "search")
    return rest


@schema.parametrize()
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck), database=None)
def test_the_api_does_what_its_description_says(case: schemathesis.Case[Any], asked: Rest) -> None:
    if case.query and "timeout" in case.query:
        case.query["timeout"] = "1s"  # nothing becomes healthy here
    for role in ROLES:
        response = case.call(base_url=f"http://127.0.0.1:{asked.port}", headers={"authorization": f"Bearer {role}"})
        case.validate_response(response, checks=CHECKS)
