"""Error budgets: how much of one is spent, and how fast. Pure.

The burn rate is that of the Site Reliability Workbook, chapter 5 ("Alerting on SLOs"): the rate at which the budget is
spent, 1 being just enough for the period of the objective.

Ratios are decimal, as they are written: one failure in a thousand is exactly at 0.999.
"""

from decimal import Decimal


def error_budget(objective: float) -> Decimal:
    """The share of requests that may fail: 0.001 of an objective of 0.999."""
    return 1 - Decimal(str(objective))


def error_rate(errors: float, requests: float) -> Decimal:
    """The share of requests that failed. No requests are no errors."""
    return Decimal(str(errors)) / Decimal(str(requests)) if requests else Decimal(0)


def burn_rate(errors: float, requests: float, objective: float) -> Decimal:
    """How many times too fast the budget of an objective is spent."""
    return error_rate(errors, requests) / error_budget(objective)


def burn_rate_over(objective: float, *windows: tuple[float, float]) -> Decimal:
    """How many times too fast the budget is spent over all of several windows: the lowest of their burn rates.

    windows: errors and requests of each.
    """
    return min(burn_rate(errors, requests, objective) for errors, requests in windows)


def burns_too_fast(rate: Decimal, factor: float) -> bool:
    """Whether a burn rate is above a factor, such as 14.4."""
    return rate > Decimal(str(factor))
