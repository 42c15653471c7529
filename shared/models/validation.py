"""Whether a document comes from a caller, or from a row that an earlier release has written.

A rule may grow stricter from one release to the next. It holds for what comes in; a row that was stored under the older
rule stays readable. So a validator that grew stricter asks `is_stored`, and whoever reads a row passes the context:

    WorkloadSpec.model_validate(row, context=STORED)
"""

from pydantic import ValidationInfo

STORED = "stored"
"""The validation context of whoever reads a row. Every other caller has none, and gets the strict rules."""


def is_stored(info: ValidationInfo) -> bool:
    """Whether the document that is being validated is one that Sentinel has stored."""
    return info.context == STORED
