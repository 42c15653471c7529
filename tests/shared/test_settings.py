"""What a function is told by its environment."""

from datetime import timedelta
from pathlib import Path

import pytest

from shared.errors import ConfigurationError
from shared.models.faults import FaultRules
from shared.models.idle import IdleRules, ReclaimRules
from shared.models.retention import Retention
from shared.settings import (
    CallerSettings,
    FunctionSettings,
    IdentitySettings,
    OidcIssuer,
    PrometheusSettings,
    metrics_interval,
    required,
)

URL = {"DATABASE_URL": "postgresql://h/d"}


def test_defaults() -> None:
    assert FunctionSettings.from_environment(URL) == FunctionSettings("postgresql://h/d", 4, None, None)


def test_everything_given() -> None:
    given = {**URL, "DATABASE_POOL_SIZE": "7", "K_SINK": "http://broker", "CLUSTERS_DIR": "/etc/clusters"}
    found = FunctionSettings.from_environment({**given, "K_CA_CERTS": "PEM"})
    clusters = Path("/etc/clusters")
    expected = FunctionSettings("postgresql://h/d", 7, "http://broker", clusters, threads=7, sink_authorities="PEM")
    assert found == expected
    assert (found.required_sink(), found.required_clusters_directory()) == ("http://broker", Path("/etc/clusters"))


@pytest.mark.parametrize("size", ["0", "101", "-1", "x", "", "1.5", "9" * 30])
def test_a_pool_size_that_is_none_is_refused(size: str) -> None:
    with pytest.raises(ConfigurationError, match="DATABASE_POOL_SIZE must be a number from 1 to 100"):
        FunctionSettings.from_environment({**URL, "DATABASE_POOL_SIZE": size})


@pytest.mark.parametrize("given", [{}, {"DATABASE_URL": ""}, {"DATABASE_URL": "  "}])
def test_a_missing_url_is_named(given: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="set DATABASE_URL to the URL of the PostgreSQL database"):
        FunctionSettings.from_environment(given)


@pytest.mark.parametrize("given", [{}, {"K_SINK": "", "K_CA_CERTS": "", "CLUSTERS_DIR": ""}])
def test_what_only_some_functions_need_is_asked_for_by_them(given: dict[str, str]) -> None:
    found = FunctionSettings.from_environment(URL | given)
    with pytest.raises(ConfigurationError, match="set K_SINK to the URL of the broker"):
        found.required_sink()
    with pytest.raises(ConfigurationError, match="set CLUSTERS_DIR to the directory of kubeconfigs"):
        found.required_clusters_directory()


def test_a_value_is_taken_without_its_blanks() -> None:
    assert required({"A": " b "}, "A", "x") == "b"


@pytest.mark.parametrize(("text", "grace"), [("90s", 90), ("PT2M", 120), ("0s", 0)])
def test_the_grace_of_a_failed_pull_is_a_duration(text: str, grace: int) -> None:
    found = FunctionSettings.from_environment({**URL, "IMAGE_PULL_GRACE": text})
    assert found.image_pull_grace == timedelta(seconds=grace)


@pytest.mark.parametrize("text", ["", "60", "soon", "-5s"])
def test_a_grace_that_is_no_duration_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(ConfigurationError, match="IMAGE_PULL_GRACE"):
        FunctionSettings.from_environment({**URL, "IMAGE_PULL_GRACE": text})


@pytest.mark.parametrize(("text", "names"), [("", set()), ("eu", {"eu"}), (" eu , us,", {"eu", "us"})])
def test_clusters_that_need_not_be_verified_are_named(text: str, names: set[str]) -> None:
    given = {**URL, "CLUSTERS_ALLOW_INSECURE": text}
    assert FunctionSettings.from_environment(given).insecure_clusters == names


def test_the_limits_of_a_functions_sessions_are_settings() -> None:
    given = {**URL, "DATABASE_STATEMENT_TIMEOUT": "1m", "DATABASE_IDLE_IN_TRANSACTION_TIMEOUT": "PT5S"}
    found = FunctionSettings.from_environment(given)
    limits = (found.statement_timeout, found.idle_in_transaction_timeout)
    assert limits == (timedelta(minutes=1), timedelta(seconds=5))
    with pytest.raises(ConfigurationError, match="DATABASE_STATEMENT_TIMEOUT"):
        FunctionSettings.from_environment({**URL, "DATABASE_STATEMENT_TIMEOUT": "soon"})


def test_how_long_rows_are_kept_is_set_in_durations() -> None:
    given = {"KEEP_EVENTS": "14d", "KEEP_DEAD_LETTERS": "P30D", "KEEP_ACTIONS": "500d", "KEEP_HISTORY": "60d"}
    found = FunctionSettings.from_environment({**URL, **given}).retention
    assert found == Retention(*(timedelta(days=count) for count in (14, 30, 500, 60)))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("KEEP_EVENTS", "1h"),
        ("KEEP_EVENTS", "401d"),
        ("KEEP_DEAD_LETTERS", "soon"),
        ("KEEP_ACTIONS", "365d"),
        ("KEEP_HISTORY", "29d"),
    ],
)
def test_rows_that_something_needs_cannot_be_kept_for_less(name: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        FunctionSettings.from_environment({**URL, name: text})


def test_the_api_is_told_its_keys_and_its_issuers() -> None:
    listed = '[{"issuer": "https://login.test", "audience": "sentinel", "createUsers": true}]'
    found = IdentitySettings.from_environment({"SIGNING_KEYS_DIR": "/keys", "OIDC_ISSUERS": listed})
    issuer = OidcIssuer("https://login.test", "sentinel", True)
    assert found == IdentitySettings(Path("/keys"), "sentinel", None, (issuer,))
    with pytest.raises(ConfigurationError, match="set SIGNING_KEYS_DIR to the directory"):
        IdentitySettings.from_environment({})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "must be a JSON list"),
        ("https://login.test", "must be a JSON list"),
        ('["https://login.test"]', r"\[0\] must be an object with issuer and audience"),
        ('[{"issuer": "http://login.test", "audience": "s"}]', r"\[0\]\.issuer must be an HTTPS URL"),
        ('[{"issuer": "https://login.test", "audience": ""}]', r"\[0\]\.audience must be text"),
        ('[{"issuer": "https://login.test", "audience": "s", "createUsers": "no"}]', r"createUsers must be true or"),
        ('[{"issuer": "https://login.test", "audience": "s", "jwks": ""}]', r"\[0\]\.jwks is unknown"),
        ('[{"issuer": "https://login.test", "audience": "s", "certificateAuthority": "/no"}]', "must be the path of"),
        ('[{"issuer": "https://a.test", "audience": "s"}, {"issuer": "https://a.test", "audience": "t"}]', "twice"),
    ],
)
def test_an_issuer_that_is_not_plainly_one_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=f"OIDC_ISSUERS.*{said}"):
        IdentitySettings.from_environment({"SIGNING_KEYS_DIR": "/keys", "OIDC_ISSUERS": text})


def test_how_faults_are_answered() -> None:
    given = {
        "RESCHEDULES_PER_HOUR": "1",
        "FLEET_SUSPECT_SHARE": ".5",
        "FLEET_SUSPECT_WINDOW": "5m",
        "NODE_QUIET_TIME": "0s",
    }
    found = FunctionSettings.from_environment({**URL, **given}).fault_rules
    assert found == FaultRules(1, 0.5, timedelta(minutes=5), timedelta(0))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("RESCHEDULES_PER_HOUR", "0"),
        *(("FLEET_SUSPECT_SHARE", text) for text in ("0", "0.0", "1.1", "-1", "nan", "25%", "1e-1")),
        ("FLEET_SUSPECT_WINDOW", "0s"),
        ("NODE_QUIET_TIME", "an hour"),
    ],
)
def test_a_rule_for_faults_that_makes_no_sense_is_named(name: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        FunctionSettings.from_environment({**URL, name: text})


def test_callers_are_checked_where_an_audience_is_set() -> None:
    assert CallerSettings.from_environment({}) is None
    given = {"CALLER_AUDIENCE": "a", "CALLER_ISSUER": "https://issuer", "CALLER_SUBJECTS": "x:*, y"}
    assert CallerSettings.from_environment(given) == CallerSettings("a", "https://issuer", ("x:*", "y"))
    for name, value in (("CALLER_ISSUER", ""), ("CALLER_ISSUER", "http://issuer"), ("CALLER_SUBJECTS", " *, ")):
        with pytest.raises(ConfigurationError, match=name):
            CallerSettings.from_environment({**given, name: value})


def test_idle_gpus_are_taken_only_where_it_is_said() -> None:
    assert FunctionSettings.from_environment(URL).reclaim_rules is None
    found = FunctionSettings.from_environment({**URL, "RECLAIM_IDLE_AFTER": "12h", "RECLAIM_WARNING": "2d"})
    assert found.reclaim_rules == ReclaimRules(IdleRules(timedelta(hours=12)), timedelta(days=2))
    for text in ("1m", "31d", "soon"):
        with pytest.raises(ConfigurationError, match="RECLAIM_IDLE_AFTER"):
            FunctionSettings.from_environment({**URL, "RECLAIM_IDLE_AFTER": text})


def test_for_how_long_metrics_stay_the_same() -> None:
    assert metrics_interval({}) == timedelta(seconds=10)
    assert metrics_interval({"METRICS_INTERVAL": "0s"}) == timedelta(0)
    with pytest.raises(ConfigurationError, match="METRICS_INTERVAL"):
        metrics_interval({"METRICS_INTERVAL": "often"})


@pytest.mark.parametrize(
    "url", ["prometheus:9090", "ftp://a:secret@prometheus", "http://", "http://a/?b=c", "http://a:b"]
)
def test_a_prometheus_url_that_is_none_is_named_and_not_told(url: str) -> None:
    with pytest.raises(ConfigurationError, match="PROMETHEUS_URL") as refused:
        PrometheusSettings.from_environment({"PROMETHEUS_URL": url})
    assert "secret" not in str(refused.value)


def test_without_a_prometheus_url_nothing_is_asked() -> None:
    assert PrometheusSettings.from_environment({"PROMETHEUS_URL": " "}) is None
    found = PrometheusSettings.from_environment({"PROMETHEUS_URL": "https://a:secret@prometheus:9090/path"})
    assert found is not None
    assert "secret" not in repr(found)


COLLECTOR = {**URL, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


def test_spans_are_recorded_where_a_collector_is_named() -> None:
    found = FunctionSettings.from_environment({**COLLECTOR, "K_SERVICE": "workload-intake"})
    assert (found.traced, found.service) == (True, "workload-intake")
    assert not FunctionSettings.from_environment(URL).traced
    assert not FunctionSettings.from_environment({**COLLECTOR, "OTEL_SDK_DISABLED": "TRUE"}).traced


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "grpc://collector:4317"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ],
)
def test_a_collector_that_cannot_be_sent_to_is_refused_by_its_name(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} must be"):
        FunctionSettings.from_environment({**COLLECTOR, name: value})
