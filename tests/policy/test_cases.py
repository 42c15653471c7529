"""Every case of every suite under cases/, through the code that `sentinel policy test` runs."""

from pathlib import Path

import pytest

from functions.cli.commands.policy_suites import PreparedSuite, load
from shared.policy.cases import run
from shared.policy.suites import Case

CASES = Path(__file__).with_name("cases")
SUITES = load([str(CASES)])
FOUND = [(suite, case) for suite in SUITES for case in suite.suite.cases]


@pytest.mark.parametrize(("suite", "case"), FOUND, ids=[f"{suite.label}: {case.name}" for suite, case in FOUND])
def test_case(suite: PreparedSuite, case: Case) -> None:
    assert run(suite.suite, suite.policies, case).mismatches == ()


def test_every_rule_scope_and_mode_has_a_case() -> None:
    documents = [p.document for suite in SUITES for p in suite.policies.policies if p.document is not None]
    rules = [rule for document in documents for rule in document.rules]
    assert {rule.type for rule in rules} == {
        "cost_ceiling", "quota", "sla", "slo", "rate_limit", "change_freeze", "image", "security", "approval",
    }  # fmt: skip
    for kind in ("cost_ceiling", "quota"):
        scopes = {getattr(rule, "scope", "") for rule in rules if rule.type == kind}
        assert scopes == {"plan", "workload", "team", "cluster", "global"}
    assert {document.mode for document in documents} == {"enforce", "warn", "dry_run"}
