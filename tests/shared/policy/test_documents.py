"""The document: its JSON Schema, its form when it is stored, and what its parts mean on their own."""

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import jsonschema  # type: ignore[import-untyped]  # it carries no types
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.models.durations import CalendarDuration
from shared.models.validation import STORED
from shared.policy.documents import LabelExpression, PolicyDocument
from shared.policy.policy_set import StoredPolicy
from shared.policy.rules.freeze import FreezeWindow
from shared.policy.rules.recurrence import Occurrences
from shared.policy.suites import Suite
from tests.support.policies import policies

EXAMPLE = {
    "name": "team-gpus",
    "priority": 100,
    "mode": "enforce",
    "selector": {"teams": ["search"]},
    "rules": [
        {"type": "quota", "scope": "team", "gpus": 16},
        {"type": "cost_ceiling", "scope": "workload", "usd_per_hour": "40"},
    ],
}
FULL: dict[str, Any] = {
    **EXAMPLE,
    "description": "everything",
    "enabled": False,
    "valid_from": "2026-01-01T00:00:00Z",
    "valid_until": "2027-01-01T00:00:00+01:00",
    "exceptions": [{"who": "team:search", "why": "launch", "until": "2026-06-01T00:00:00Z"}],
    "deny_unmatched": True,
    "selector": {
        "matchLabels": {"tier": "gold"},
        "matchExpressions": [{"key": "app", "operator": "In", "values": ["chat"]}],
        "verbs": ["deploy"],
        "types": ["inference"],
        "skus": ["nvidia h100 80gb hbm3"],
    },
    "rules": [
        {"type": "quota", "cpu": "1500m", "memory": "1Gi", "gpus_by_sku": {"h100": 4}},
        {"type": "cost_ceiling", "usd_per_month": 1000.5, "max_price_age": "P90D"},
        {"type": "sla", "min_uptime": 0.99, "window": "P7D"},
        {"type": "slo", "min_success_rate": 0.999, "burn_rates": "workbook", "max_latency_seconds": 1},
        {"type": "slo", "min_success_rate": 0.999, "burn_rates": [{"factor": 2, "long": "PT1H", "short": "PT5M"}]},
        {"type": "rate_limit", "actions": 3, "window": "PT1H", "verbs": ["update"]},
        {
            "type": "change_freeze",
            "windows": [
                {"start": "2026-12-24T00:00:00", "duration": "P8D", "recurrence": "FREQ=YEARLY"},
                {"start": "2026-12-01T00:00:00", "duration": "P1M"},
            ],
        },
        {
            "type": "image",
            "allowed_registries": ["ghcr.io/search/", "index.docker.io/search"],
            "forbidden_tags": ["latest"],
        },
        {
            "type": "security",
            "allowed_capabilities": ["NET_ADMIN"],
            "allowed_toleration_keys": ["dedicated"],
            "allowed_node_selector_keys": [],
        },
    ],
}


@pytest.mark.parametrize("document", [EXAMPLE, FULL], ids=["example", "full"])
def test_the_json_schema_takes_what_the_model_takes(document: dict[str, Any]) -> None:
    schema = PolicyDocument.model_json_schema(by_alias=True)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(document)
    validator.validate(
        PolicyDocument.model_validate(document).model_dump(mode="json", by_alias=True, exclude_none=True)
    )
    for broken in ({**document, "sever": 1}, {**document, "priority": -1}, {**document, "rules": [{"type": "no"}]}):
        assert not validator.is_valid(broken)


def test_the_json_schema_of_suites_takes_a_suite() -> None:
    suite = {
        "policies": [EXAMPLE, {"file": "policies.yaml"}, {"unreadable": "old"}],
        "facts": {"usage": {"team": {"gpus": 15}}, "actions": {"team": ["10 minutes ago", {"at": "now"}]}},
        "cases": [{"name": "a", "expect": {"decision": "denied", "violations": [{"limit": 16, "field": "gpus"}]}}],
    }
    jsonschema.Draft202012Validator(Suite.model_json_schema(by_alias=True)).validate(suite)
    Suite.model_validate(suite)


def test_a_stored_document_reads_back_the_same() -> None:
    document = PolicyDocument.model_validate(FULL)
    stored_form = json.loads(json.dumps(document.model_dump(mode="json", by_alias=True)))
    assert PolicyDocument.model_validate(stored_form) == document
    assert PolicyDocument.model_validate(stored_form, context=STORED) == document
    assert (
        stored_form["rules"][0] | {"cpu": "1500m", "memory": "1Gi", "gpus_by_sku": {"H100": 4}}
        == stored_form["rules"][0]
    )
    assert stored_form["selector"]["skus"] == ["H100"]
    assert stored_form["rules"][7]["allowed_registries"] == ["ghcr.io/search", "docker.io/search"]


@given(policies())
def test_any_stored_document_reads_back_the_same(policy: StoredPolicy) -> None:
    assert policy.document is not None
    assert PolicyDocument.model_validate_json(policy.document.model_dump_json(by_alias=True)) == policy.document


@given(
    st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist"]), st.dictionaries(st.just("a"), st.sampled_from("xyz"))
)
def test_label_expressions_mean_what_they_mean_in_kubernetes(operator: Any, labels: dict[str, str]) -> None:
    values = ("x", "y") if operator in ("In", "NotIn") else ()
    expected = {
        "In": labels.get("a") in ("x", "y"),
        "NotIn": "a" not in labels or labels["a"] == "z",
        "Exists": "a" in labels,
        "DoesNotExist": "a" not in labels,
    }
    assert LabelExpression(key="a", operator=operator, values=values).matches(labels) is expected[operator]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


DAYS = st.integers(0, 3000)


@given(DAYS, st.integers(1, 72), st.sampled_from(["FREQ=DAILY;INTERVAL=3", "FREQ=WEEKLY;BYDAY=MO,TH", "FREQ=MONTHLY"]))
def test_a_window_of_utc_is_what_walking_over_its_days_finds(hours: int, length: int, recurrence: str) -> None:
    start = datetime(2026, 1, 1, 6)  # noqa: DTZ001 - local
    duration = CalendarDuration(exact=timedelta(hours=length))
    window = FreezeWindow(start=start, duration=duration, recurrence=recurrence)
    now = at("2025-12-30T00:30:00") + timedelta(hours=hours)
    fits: dict[str, Callable[[datetime], bool]] = {
        "D": lambda day: (day - start).days % 3 == 0,
        "W": lambda day: day.weekday() in (0, 3),
        "M": lambda day: day.day == 1,
    }
    walked = [day for n in range(200) if fits[recurrence[5]](day := start + timedelta(days=n))]
    ends = [s + timedelta(hours=length) for s in walked if s <= now.replace(tzinfo=None) < s + timedelta(hours=length)]
    assert window.ends(now) == (max(ends).replace(tzinfo=UTC) if ends else None)


def test_occurrences_answer_in_any_order_of_questions() -> None:
    start = datetime(2026, 1, 1)  # noqa: DTZ001 - local
    found = Occurrences("FREQ=DAILY;COUNT=3", start)
    asked = [found.last(start + timedelta(days=n, hours=1)) for n in (9, 0, 1, -1, 2)]
    assert asked == [*(start + timedelta(days=n) for n in (2, 0, 1)), None, start + timedelta(days=2)]


def test_a_zone_whose_clocks_change_by_two_hours() -> None:
    window = FreezeWindow.model_validate(
        {"start": "2026-10-25T02:30:00", "duration": "PT2H", "timezone": "Antarctica/Troll"}
    )
    assert window.ends(at("2026-10-25T00:30:00")) == at("2026-10-25T02:30:00")
    assert window.ends(at("2026-10-25T01:15:00")) == at("2026-10-25T02:30:00")
    assert window.ends(at("2026-10-25T02:29:59")) == at("2026-10-25T02:30:00")
    assert window.ends(at("2026-10-25T02:30:00")) is None


def test_a_freeze_of_a_month_holds_to_the_month_s_last_moment() -> None:
    window = FreezeWindow.model_validate(
        {"start": "2026-12-01T00:00:00", "duration": "P1M", "timezone": "Europe/Berlin"}
    )
    assert window.ends(at("2026-11-30T22:59:59")) is None
    assert window.ends(at("2026-12-01T12:00:00")) == at("2026-12-31T23:00:00")
    assert window.ends(at("2026-12-31T22:59:59")) == at("2026-12-31T23:00:00")
    assert window.ends(at("2026-12-31T23:00:00")) is None


def test_a_freeze_of_a_month_that_recurs_is_as_long_as_each_month() -> None:
    window = FreezeWindow.model_validate(
        {"start": "2026-01-01T00:00:00", "duration": "P1M", "recurrence": "FREQ=MONTHLY;INTERVAL=2"}
    )
    ends = {month: window.ends(at(f"2026-{month:02}-28T12:00:00")) for month in (1, 2, 3, 11)}
    assert ends == {1: at("2026-02-01"), 2: None, 3: at("2026-04-01"), 11: at("2026-12-01")}


def test_a_policy_of_an_earlier_release_keeps_its_lengths() -> None:
    stored_form = {
        "name": "old",
        "rules": [
            {"type": "cost_ceiling", "usd_per_hour": "1", "max_price_age": "P3Y"},
            {"type": "sla", "min_uptime": 0.9, "window": "P1Y1D"},
            {"type": "change_freeze", "windows": [{"start": "2026-12-01T00:00:00", "duration": "P1Y"}]},
        ],
    }
    document = PolicyDocument.model_validate(stored_form, context=STORED)
    written = document.model_dump(mode="json", by_alias=True)["rules"]
    assert [written[0]["max_price_age"], written[1]["window"]] == ["P1095D", "P366D"]
    assert written[2]["windows"][0]["duration"] == "P365D"
    assert PolicyDocument.model_validate(document.model_dump(mode="json", by_alias=True)) == document


def test_a_recurrence_includes_the_day_that_it_ends_with() -> None:
    windows = [
        FreezeWindow.model_validate(
            {"start": "2026-12-14T09:00:00", "duration": "PT8H", "recurrence": f"FREQ=DAILY;UNTIL={until}"}
        )
        for until in ("20261218", "20261218T090000", "20261218T085959")
    ]
    assert [window.ends(at("2026-12-18T12:00:00")) is not None for window in windows] == [True, True, False]
    assert [window.ends(at("2026-12-19T12:00:00")) for window in windows] == [None, None, None]


def test_a_calendar_of_an_earlier_release_stays_readable() -> None:
    window = {"start": "2026-01-01T00:00:00", "duration": "P1D", "recurrence": "FREQ=DAILY;UNTIL=2199"}
    for stored_form in (window, {**window, "timezone": "right/Europe/Berlin"}):
        with suppress(ZoneInfoNotFoundError):
            ZoneInfo(stored_form.get("timezone", "UTC"))
            assert FreezeWindow.model_validate(stored_form, context=STORED).recurrence == window["recurrence"]
        with pytest.raises(ValidationError):
            FreezeWindow.model_validate(stored_form)
