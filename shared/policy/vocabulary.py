"""Types that policy documents, rules and facts share."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from shared.models.fields import Duration, LabelValue, LazyModel
from shared.models.gpu import normalise_sku

_A_YEAR = timedelta(days=366)


class PolicyModel(LazyModel):
    """Base of what a policy document is made of: snake_case, no unknown field, immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False)


class ScopeKind(StrEnum):
    """What a rule counts in."""

    PLAN = "plan"
    WORKLOAD = "workload"
    TEAM = "team"
    CLUSTER = "cluster"
    GLOBAL = "global"


class Mode(StrEnum):
    """What a violation does: deny, warn, or only leave a record of what it would have done."""

    ENFORCE = "enforce"
    WARN = "warn"
    DRY_RUN = "dry_run"


@dataclass(frozen=True)
class CountingScope:
    """One thing that rules count in: a kind, and a team, a cluster, a workload's id or ""."""

    kind: ScopeKind
    key: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.key}"


def _aware(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("must have a time zone, such as 2026-12-24T00:00:00Z")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be a time of the years 1 to 9999 in UTC") from None


def _longer_than_zero(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("must be longer than zero")
    return value


def _at_most_a_year(value: timedelta) -> timedelta:
    if value > _A_YEAR:
        raise ValueError(f"must be at most {_A_YEAR.days} days")
    return value


def _sku(value: object) -> object:
    if value == "":
        raise ValueError("must be the name of a GPU, such as H100")
    return normalise_sku(value) if isinstance(value, str) else value


Moment = Annotated[datetime, AfterValidator(_aware)]
Age = Annotated[Duration, AfterValidator(_longer_than_zero)]
Window = Annotated[Age, AfterValidator(_at_most_a_year)]
Usd = Annotated[Decimal, Field(ge=0, max_digits=20, decimal_places=6)]
Count = Annotated[int, Field(ge=0, strict=True)]
Ratio = Annotated[float, Field(ge=0, le=1, strict=True)]
Sku = Annotated[LabelValue, BeforeValidator(_sku)]
"""A GPU SKU in any spelling; the model holds its normalised name."""
