"""sla and slo: a workload below its objectives is not changed.

They bind only workloads that are older than the window. Rollbacks and scale-ups pass, because they help. Telemetry that
is older than max_sample_age counts as missing.

The window pairs are those of the Site Reliability Workbook, chapter 5 ("Alerting on SLOs"); a pair fires when the burn
rates of both windows are over. See shared.telemetry.burn.
"""

from abc import abstractmethod
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from shared.policy.context import EvaluationContext, MissingFact
from shared.policy.facts import FactKinds, ServiceLevel
from shared.policy.rules.base import ExceededLimit, RuleModel
from shared.policy.vocabulary import PolicyModel, Ratio, Window
from shared.telemetry.burn import burn_rate, burn_rate_over, burns_too_fast, error_rate

FRESH = timedelta(minutes=15)

_COLLECTED = (
    "telemetry-ingestion asks the Prometheus at PROMETHEUS_URL for metrics of Istio, Knative, vLLM and Triton, or for "
    "the PromQL that the workload's metrics name"
)
_STALE = "look whether the Prometheus at PROMETHEUS_URL of telemetry-ingestion answers, and still has metrics of it"


class BurnWindows(PolicyModel):
    """Fires when the budget burns more than `factor` times too fast over both windows."""

    factor: Annotated[float, Field(gt=0, strict=True)]
    long: Window
    short: Window

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.short >= self.long:
            raise ValueError("short must be shorter than long")
        return self


WORKBOOK = (
    BurnWindows(factor=14.4, long=timedelta(hours=1), short=timedelta(minutes=5)),
    BurnWindows(factor=6, long=timedelta(hours=6), short=timedelta(minutes=30)),
    BurnWindows(factor=3, long=timedelta(days=1), short=timedelta(hours=2)),
    BurnWindows(factor=1, long=timedelta(days=3), short=timedelta(hours=6)),
)

BurnRates = Annotated[
    Annotated[Literal["workbook"], Tag("named")]
    | Annotated[tuple[BurnWindows, ...], Field(min_length=1, max_length=20), Tag("pairs")],
    Discriminator(lambda value: "named" if isinstance(value, str) else "pairs"),
]


class ServiceRule(RuleModel):
    """The base of both rules."""

    exempts_scale_up: ClassVar[bool] = True

    max_sample_age: Window = FRESH

    @abstractmethod
    def windows(self) -> Iterator[timedelta]:
        """Every window that the rule reads telemetry of."""

    def fact_kinds(self) -> FactKinds:
        return FactKinds(windows=frozenset(self.windows()))

    def _level(self, window: timedelta, context: EvaluationContext) -> ServiceLevel | None:
        """The service level over a window; None when the workload is younger than the window. Raises MissingFact."""
        created_at = context.plan.created_at
        if created_at is None or context.now - created_at <= window:
            return None
        level = context.facts.service.get(window)
        if level is None or level.newest is None:
            raise MissingFact(f"there is no telemetry of the workload over {window}; {_COLLECTED}")
        if context.now - level.newest > self.max_sample_age:
            newest = level.newest.isoformat()
            raise MissingFact(f"the newest telemetry of the workload is from {newest}; {_STALE}")
        return level


class Sla(ServiceRule):
    """At least this measured uptime over the window."""

    type: Literal["sla"]
    min_uptime: Ratio
    window: Window

    def windows(self) -> Iterator[timedelta]:
        yield self.window

    def check(self, context: EvaluationContext) -> Iterator[ExceededLimit]:
        level = self._level(self.window, context)
        if level is None:
            return
        if level.uptime is None:
            raise MissingFact(
                f"there are no samples of `up` over {self.window}; the workload's metrics.up names PromQL"
            )
        if not level.uptime >= self.min_uptime:
            message = f"uptime over {self.window} was {level.uptime:.4%}; {self.min_uptime:.4%} is promised"
            yield ExceededLimit("min_uptime", str(self.min_uptime), f"{level.uptime:.6f}", message)


class Slo(ServiceRule):
    """Objectives over a window: a latency percentile, a success rate, error budget left, and burn rates.

    The budget is what min_success_rate leaves: it must not be spent, or min_budget_left of it must be left.
    burn_rates: pairs of windows, or "workbook" for 14.4 over 1 h and 5 min, 6 over 6 h and 30 min, 3 over 1 d and
    2 h, 1 over 3 d and 6 h.
    """

    type: Literal["slo"]
    window: Window = timedelta(days=30)
    latency_percentile: Literal[50, 95, 99] = 99
    max_latency_seconds: Annotated[float, Field(gt=0, strict=True)] | None = None
    min_success_rate: Annotated[float, Field(gt=0, lt=1, strict=True)] | None = None
    min_budget_left: Ratio | None = None
    burn_rates: BurnRates | None = None

    @model_validator(mode="after")
    def _has_objectives(self) -> Self:
        if self.max_latency_seconds is None and self.min_success_rate is None:
            raise ValueError("an slo needs max_latency_seconds or min_success_rate")
        if self.min_success_rate is None and (self.min_budget_left is not None or self.burn_rates is not None):
            raise ValueError("min_budget_left and burn_rates are about an error budget: give min_success_rate")
        return self

    @property
    def pairs(self) -> tuple[BurnWindows, ...]:
        """The pairs of windows whose burn rates are compared."""
        return WORKBOOK if self.burn_rates == "workbook" else self.burn_rates or ()

    def windows(self) -> Iterator[timedelta]:
        yield self.window
        for pair in self.pairs:
            yield from (pair.long, pair.short)

    def check(self, context: EvaluationContext) -> Iterator[ExceededLimit]:
        level = self._level(self.window, context)
        if level is not None:
            if self.max_latency_seconds is not None:
                yield from self._latency(level, self.max_latency_seconds)
            if self.min_success_rate is not None:
                yield from self._spent(level, self.min_success_rate)
        if self.min_success_rate is not None:
            yield from self._burning(self.min_success_rate, context)

    def _latency(self, level: ServiceLevel, most: float) -> Iterator[ExceededLimit]:
        observed = level.latency_seconds.get(self.latency_percentile)
        if observed is None:
            named = f"latency_p{self.latency_percentile}_seconds"
            own = f"the workload's metrics.latencyP{self.latency_percentile}Seconds names PromQL"
            raise MissingFact(f"there are no samples of {named} over {self.window}; {own}")
        if not observed <= most:
            name = f"p{self.latency_percentile} latency"
            message = f"{name} over {self.window} was {observed:g} s; {most:g} s is the objective"
            yield ExceededLimit("max_latency_seconds", f"{most:g}", f"{observed:g}", message)

    def _spent(self, level: ServiceLevel, objective: float) -> Iterator[ExceededLimit]:
        failed = error_rate(level.errors, level.requests)
        left = 1 - burn_rate(level.errors, level.requests, objective)
        if self.min_budget_left is not None:
            if left < Decimal(str(self.min_budget_left)):
                least = f"{self.min_budget_left:.1%}"
                message = f"{left:.1%} of the error budget over {self.window} is left; {least} must be"
                yield ExceededLimit("min_budget_left", str(self.min_budget_left), f"{left:.6f}", message)
        elif left < 0:
            message = f"{1 - failed:.4%} succeeded over {self.window}; {objective:.4%} is the objective"
            yield ExceededLimit("min_success_rate", str(objective), f"{1 - failed:.6f}", message)

    def _burning(self, objective: float, context: EvaluationContext) -> Iterator[ExceededLimit]:
        for pair in self.pairs:
            long, short = (self._level(window, context) for window in (pair.long, pair.short))
            if long is None or short is None:
                continue
            rate = burn_rate_over(objective, (long.errors, long.requests), (short.errors, short.requests))
            if burns_too_fast(rate, pair.factor):
                message = f"the error budget burns {rate:.1f} times too fast over {pair.long} and {pair.short}"
                yield ExceededLimit("burn_rates", f"{pair.factor:g}", f"{rate:.6g}", message)
