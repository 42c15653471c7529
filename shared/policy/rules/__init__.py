"""The rules that a policy may hold, one module each.

A rule is a document (what a platform team writes) that says what facts it needs and checks a plan against
them. `check` yields what is broken and raises MissingFact for what is not known. It is pure: no clock, no I/O.
"""

from typing import Annotated

from pydantic import Field

from shared.policy.rules.amounts import CostCeiling, Quota
from shared.policy.rules.approval import ApprovalRule
from shared.policy.rules.freeze import ChangeFreeze
from shared.policy.rules.hardening import ImageRule, SecurityRule
from shared.policy.rules.rate import RateLimit
from shared.policy.rules.service import Sla, Slo

Rule = Annotated[
    CostCeiling | Quota | Sla | Slo | RateLimit | ChangeFreeze | ImageRule | SecurityRule | ApprovalRule,
    Field(discriminator="type"),
]

__all__ = [
    "ApprovalRule",
    "ChangeFreeze",
    "CostCeiling",
    "ImageRule",
    "Quota",
    "RateLimit",
    "Rule",
    "SecurityRule",
    "Sla",
    "Slo",
]
