"""The settings of a process, read from its environment once, at the edge."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from shared.errors import ConfigurationError
from shared.models import durations
from shared.models.faults import DEFAULT_FAULT_RULES, FaultRules
from shared.models.idle import DEFAULT_IDLE_RULES, LONGEST_WINDOW, SHORTEST_WINDOW, ReclaimRules
from shared.models.retention import DEFAULT_RETENTION, LEAST_ACTIONS, LEAST_HISTORY, Retention
from shared.models.slo import DEFAULT_BREACH_PLANS_PER_HOUR

DEFAULT_FUNCTION_POOL = 4
DEFAULT_SERVICE = "sentinel"
OTLP_PROTOCOL = "http/protobuf"
_COLLECTOR = re.compile(r"https?://[^\s?#]+")
_ISSUER = re.compile(r"https://[^\s?#]{1,247}")
SINK_TOKEN = Path("/oidc/token")
"""Where a SinkBinding mounts the token of its subject, if Knative Eventing authenticates senders."""
DEFAULT_IMAGE_PULL_GRACE = timedelta(seconds=60)
"""The kubelet has tried three times by then."""
DEFAULT_STATEMENT_TIMEOUT = timedelta(seconds=10)
"""A client over TCP waits no longer for an answer either."""
DEFAULT_IDLE_IN_TRANSACTION_TIMEOUT = timedelta(seconds=15)
"""A function asks again within milliseconds; one that was cut off must not keep its locks from the others."""


DEFAULT_METRICS_INTERVAL = timedelta(seconds=10)
"""Shorter than the interval at which Prometheus usually asks."""


@dataclass(frozen=True)
class CallerSettings:
    """Whose tokens let a caller in, where functions check who calls them; see shared.identity.callers.

    audience (CALLER_AUDIENCE: the `aud` of the tokens; without it nothing is checked), issuer (CALLER_ISSUER: their
    `iss`, an HTTPS URL, whose discovery document leads to the keys), subjects (CALLER_SUBJECTS: their `sub`, with
    commas between them; a `*` at the end stands for any rest), certificate_authority (CALLER_ISSUER_CA: PEM, for an
    issuer whose certificate the system does not trust) and token (CALLER_ISSUER_TOKEN: a file with a token that the
    issuer is asked with).
    """

    audience: str
    issuer: str
    subjects: tuple[str, ...]
    certificate_authority: Path | None = None
    token: Path | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "CallerSettings | None":
        """None where no audience is set. Raises ConfigurationError that names the variable."""
        audience = environment.get("CALLER_AUDIENCE", "").strip()
        if not audience:
            return None
        issuer = required(environment, "CALLER_ISSUER", "the issuer of the tokens that callers show")
        if not _ISSUER.fullmatch(issuer):
            raise ConfigurationError("CALLER_ISSUER must be an HTTPS URL without query, at most 255 characters long")
        subjects = required(environment, "CALLER_SUBJECTS", "the subjects of the tokens that callers show")
        listed = tuple(one.strip() for one in subjects.split(",") if one.strip().removesuffix("*"))
        if not listed:
            raise ConfigurationError("CALLER_SUBJECTS must name subjects: `*` alone would let everybody in")
        authority, token = (environment.get(name) for name in ("CALLER_ISSUER_CA", "CALLER_ISSUER_TOKEN"))
        return cls(audience, issuer, listed, Path(authority) if authority else None, Path(token) if token else None)


@dataclass(frozen=True)
class PrometheusSettings:
    """Which Prometheus tells how workloads serve their users; see shared.operations.collect.

    url (PROMETHEUS_URL: http or https, perhaps with user:password@ and a path), token (PROMETHEUS_TOKEN_FILE: a file
    with a bearer token, read for each query) and certificate_authority (PROMETHEUS_CA: PEM, for a certificate that the
    system does not trust).
    """

    url: str = field(repr=False)
    token: Path | None = None
    certificate_authority: Path | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "PrometheusSettings | None":
        """None where no URL is set. Raises ConfigurationError that names the variable, and tells nothing of the URL."""
        url = environment.get("PROMETHEUS_URL", "").strip()
        if not url:
            return None
        if not _is_http_url(url):
            raise ConfigurationError("PROMETHEUS_URL must be an http or https URL of a host, without query")
        token, authority = (environment.get(name) for name in ("PROMETHEUS_TOKEN_FILE", "PROMETHEUS_CA"))
        if authority and not Path(authority).is_file():
            raise ConfigurationError("PROMETHEUS_CA must be the path of a file in PEM")
        return cls(url, Path(token) if token else None, Path(authority) if authority else None)


def _is_http_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and not parts.query
    except ValueError:  # a port that is none
        return False


@dataclass(frozen=True)
class FunctionSettings:
    """A function's environment.

    database_url (DATABASE_URL), pool_size (DATABASE_POOL_SIZE, default 4), threads (HANDLER_THREADS, at least the
    Service's containerConcurrency, but for telemetry, and by default the pool's size; more where events wait for
    clusters without holding a connection), sink (K_SINK, where the outbox is published to), sink_authorities
    (K_CA_CERTS, PEM: whom to believe the sink's certificate; both are set by a SinkBinding), clusters_directory
    (CLUSTERS_DIR, only where clusters are touched), image_pull_grace (IMAGE_PULL_GRACE, for verification: how long
    after an apply an image may fail to be pulled; a duration such as 90s or PT90S), insecure_clusters
    (CLUSTERS_ALLOW_INSECURE, names with commas between them: the clusters whose certificates need not be verified),
    loopback_clusters (CLUSTERS_ALLOW_LOOPBACK, true or false: whether clusters may be at 127.0.0.1, as on a laptop),
    statement_timeout (DATABASE_STATEMENT_TIMEOUT, default 10s) and idle_in_transaction_timeout
    (DATABASE_IDLE_IN_TRANSACTION_TIMEOUT, default 15s): what PostgreSQL lets a function's statement and its silent
    transaction take. 0s is no limit. retention (KEEP_EVENTS, KEEP_DEAD_LETTERS, KEEP_ACTIONS and KEEP_HISTORY, for the
    relay; KEEP_SAMPLES, KEEP_MINUTES and KEEP_HOURS, for telemetry: durations such as 90d; see
    shared.models.retention). fault_rules (RESCHEDULES_PER_HOUR, FLEET_SUSPECT_SHARE, FLEET_SUSPECT_WINDOW and
    NODE_QUIET_TIME, for verification: 2, 0.25, 10m and 1h; see shared.models.faults). reclaim_rules (RECLAIM_IDLE_AFTER
    and RECLAIM_WARNING, for verification: a duration, without which no GPU is taken, and 24h; see shared.models.idle).
    breach_plans_per_hour (BREACH_PLANS_PER_HOUR, default 1, for verification: how many plans breaches of objectives may
    lead to for one workload). callers: who may call it; None where that is not checked. traced
    (OTEL_EXPORTER_OTLP_ENDPOINT: whether spans are recorded; OTEL_SDK_DISABLED=true says that they are not) and service
    (K_SERVICE, which Knative sets: its name there). prometheus: for telemetry; None where nothing is collected.
    """

    database_url: str
    pool_size: int = DEFAULT_FUNCTION_POOL
    sink: str | None = None
    clusters_directory: Path | None = None
    image_pull_grace: timedelta = DEFAULT_IMAGE_PULL_GRACE
    insecure_clusters: frozenset[str] = frozenset()
    statement_timeout: timedelta = DEFAULT_STATEMENT_TIMEOUT
    idle_in_transaction_timeout: timedelta = DEFAULT_IDLE_IN_TRANSACTION_TIMEOUT
    retention: Retention = DEFAULT_RETENTION
    threads: int = DEFAULT_FUNCTION_POOL
    loopback_clusters: bool = False
    sink_authorities: str | None = None
    fault_rules: FaultRules = DEFAULT_FAULT_RULES
    reclaim_rules: ReclaimRules | None = None
    callers: CallerSettings | None = None
    breach_plans_per_hour: int = DEFAULT_BREACH_PLANS_PER_HOUR
    traced: bool = False
    service: str = DEFAULT_SERVICE
    prometheus: PrometheusSettings | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "FunctionSettings":
        """Raises ConfigurationError that names the variable."""
        size = _count(environment, "DATABASE_POOL_SIZE", DEFAULT_FUNCTION_POOL)
        clusters = environment.get("CLUSTERS_DIR")
        return cls(
            required(environment, "DATABASE_URL", "the URL of the PostgreSQL database, for the application's role"),
            size,
            environment.get("K_SINK"),
            Path(clusters) if clusters else None,
            duration(environment, "IMAGE_PULL_GRACE", DEFAULT_IMAGE_PULL_GRACE),
            insecure_clusters(environment),
            duration(environment, "DATABASE_STATEMENT_TIMEOUT", DEFAULT_STATEMENT_TIMEOUT),
            duration(environment, "DATABASE_IDLE_IN_TRANSACTION_TIMEOUT", DEFAULT_IDLE_IN_TRANSACTION_TIMEOUT),
            _retention(environment),
            _count(environment, "HANDLER_THREADS", size),
            _flag(environment, "CLUSTERS_ALLOW_LOOPBACK"),
            environment.get("K_CA_CERTS") or None,
            _fault_rules(environment),
            _reclaim_rules(environment),
            CallerSettings.from_environment(environment),
            _count(environment, "BREACH_PLANS_PER_HOUR", DEFAULT_BREACH_PLANS_PER_HOUR),
            _traced(environment),
            environment.get("K_SERVICE") or DEFAULT_SERVICE,
            PrometheusSettings.from_environment(environment),
        )

    def required_sink(self) -> str:
        """The sink's URL. Raises ConfigurationError when the function publishes and none is set."""
        if not self.sink:
            raise ConfigurationError("set K_SINK to the URL of the broker; a SinkBinding does it on Knative")
        return self.sink

    def required_clusters_directory(self) -> Path:
        """Raises ConfigurationError when the function touches clusters and no directory is set."""
        if self.clusters_directory is None:
            raise ConfigurationError("set CLUSTERS_DIR to the directory of kubeconfigs, one file a cluster")
        return self.clusters_directory


DEFAULT_ISSUER = "sentinel"
"""What tokens name as their issuer."""


@dataclass(frozen=True)
class OidcIssuer:
    """An external OpenID Connect issuer whose users may log in.

    issuer: the `iss` of its tokens, an HTTPS URL. audience: what its tokens for Sentinel name as `aud`. create_users:
    whether somebody's first login makes a user, who has no role yet. certificate_authority: PEM, for an issuer whose
    certificate the system does not trust.
    """

    issuer: str
    audience: str
    create_users: bool = False
    certificate_authority: Path | None = None


@dataclass(frozen=True)
class IdentitySettings:
    """What the api needs of its environment to know who asks.

    keys_directory (SIGNING_KEYS_DIR: see shared.identity.keys), issuer (TOKEN_ISSUER, the `iss` of tokens, by default
    `sentinel`), first_admin_password (FIRST_ADMIN_PASSWORD_FILE: a file with the password of the first admin, read when
    `admin` logs in and there is no account yet), oidc_issuers (OIDC_ISSUERS: a JSON list of objects with `issuer`,
    `audience`, and optionally `createUsers` and `certificateAuthority`; see OidcIssuer), audit_key
    (AUDIT_SIGNING_KEY: an Ed25519 key in PEM that exports of the audit log are signed with; without the file there are
    none over REST).
    """

    keys_directory: Path
    issuer: str = DEFAULT_ISSUER
    first_admin_password: Path | None = None
    oidc_issuers: tuple[OidcIssuer, ...] = ()
    audit_key: Path | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "IdentitySettings":
        """Raises ConfigurationError that names the variable."""
        password, audit_key = environment.get("FIRST_ADMIN_PASSWORD_FILE"), environment.get("AUDIT_SIGNING_KEY")
        return cls(
            Path(required(environment, "SIGNING_KEYS_DIR", "the directory of the keys that sign tokens")),
            environment.get("TOKEN_ISSUER") or DEFAULT_ISSUER,
            Path(password) if password else None,
            _oidc_issuers(environment.get("OIDC_ISSUERS") or "[]"),
            Path(audit_key) if audit_key else None,
        )


def _oidc_issuers(text: str) -> tuple[OidcIssuer, ...]:
    try:
        listed = json.loads(text)
    except ValueError:
        raise ConfigurationError("OIDC_ISSUERS must be a JSON list of objects with issuer and audience") from None
    if not isinstance(listed, list):
        raise ConfigurationError("OIDC_ISSUERS must be a JSON list of objects with issuer and audience")
    found = tuple(_oidc_issuer(f"OIDC_ISSUERS[{number}]", one) for number, one in enumerate(listed))
    if len({one.issuer for one in found}) < len(found):
        raise ConfigurationError("OIDC_ISSUERS names an issuer twice")
    return found


def _oidc_issuer(where: str, given: object) -> OidcIssuer:
    if not isinstance(given, dict) or not {"issuer", "audience"} <= given.keys():
        raise ConfigurationError(f"{where} must be an object with issuer and audience")
    if unknown := given.keys() - {"issuer", "audience", "createUsers", "certificateAuthority"}:
        raise ConfigurationError(f"{where}.{sorted(unknown)[0][:60]} is unknown")
    issuer, audience = given["issuer"], given["audience"]
    if not isinstance(issuer, str) or not _ISSUER.fullmatch(issuer):
        raise ConfigurationError(f"{where}.issuer must be an HTTPS URL without query, at most 255 characters long")
    if not isinstance(audience, str) or not audience:
        raise ConfigurationError(f"{where}.audience must be text: what the issuer calls Sentinel")
    create, authority = given.get("createUsers", False), given.get("certificateAuthority")
    if not isinstance(create, bool):
        raise ConfigurationError(f"{where}.createUsers must be true or false")
    if authority is not None and not (isinstance(authority, str) and Path(authority).is_file()):
        raise ConfigurationError(f"{where}.certificateAuthority must be the path of a file in PEM")
    return OidcIssuer(issuer, audience, create, None if authority is None else Path(authority))


def _count(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, str(default))
    if not text.isdecimal() or not 1 <= int(text) <= 100:
        raise ConfigurationError(f"{name} must be a number from 1 to 100, not {text[:20]!r}")
    return int(text)


def _flag(environment: Mapping[str, str], name: str) -> bool:
    text = environment.get(name, "false").lower()
    if text not in ("true", "false"):
        raise ConfigurationError(f"{name} must be true or false, not {text[:20]!r}")
    return text == "true"


def _traced(environment: Mapping[str, str]) -> bool:
    """Raises ConfigurationError for a collector that spans cannot be sent to: nobody would see why there are none."""
    collector = environment.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").strip()
    if not collector or environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if not _COLLECTOR.fullmatch(collector):
        raise ConfigurationError("OTEL_EXPORTER_OTLP_ENDPOINT must be an HTTP URL such as http://collector:4318")
    if (protocol := environment.get("OTEL_EXPORTER_OTLP_PROTOCOL", OTLP_PROTOCOL)) != OTLP_PROTOCOL:
        raise ConfigurationError(f"OTEL_EXPORTER_OTLP_PROTOCOL must be {OTLP_PROTOCOL}, not {protocol[:20]!r}")
    return True


def duration(environment: Mapping[str, str], name: str, default: timedelta) -> timedelta:
    """The variable as a length of time, such as 90s or PT90S. Raises ConfigurationError for anything else."""
    text = environment.get(name)
    try:
        return default if text is None else durations.parse(text)
    except ValueError as error:
        raise ConfigurationError(f"{name}: {error}") from None


def _retention(environment: Mapping[str, str]) -> Retention:
    usual = DEFAULT_RETENTION
    found = Retention(
        duration(environment, "KEEP_EVENTS", usual.events),
        duration(environment, "KEEP_DEAD_LETTERS", usual.letters),
        duration(environment, "KEEP_ACTIONS", usual.actions),
        duration(environment, "KEEP_HISTORY", usual.history),
        duration(environment, "KEEP_SAMPLES", usual.samples),
        duration(environment, "KEEP_MINUTES", usual.minutes),
        duration(environment, "KEEP_HOURS", usual.hours),
    )
    if min(found.events, found.letters) < timedelta(days=1):
        raise ConfigurationError("KEEP_EVENTS and KEEP_DEAD_LETTERS must be at least 1d")
    if found.actions < LEAST_ACTIONS:
        raise ConfigurationError(f"KEEP_ACTIONS must be at least {LEAST_ACTIONS.days}d: a rate limit counts a year")
    if found.history < max(LEAST_HISTORY, found.events):
        raise ConfigurationError(f"KEEP_HISTORY must be at least {LEAST_HISTORY.days}d, and at least KEEP_EVENTS")
    if not timedelta(days=1) <= found.samples <= found.minutes <= found.hours:
        raise ConfigurationError("KEEP_SAMPLES must be at least 1d, KEEP_MINUTES no less, and KEEP_HOURS no less again")
    return found


def _fault_rules(environment: Mapping[str, str]) -> FaultRules:
    usual = DEFAULT_FAULT_RULES
    window = duration(environment, "FLEET_SUSPECT_WINDOW", usual.suspect_window)
    quiet = duration(environment, "NODE_QUIET_TIME", usual.quiet_time)
    if window <= timedelta(0) or quiet < timedelta(0):
        raise ConfigurationError("FLEET_SUSPECT_WINDOW must be longer than 0s, and NODE_QUIET_TIME at least that")
    count = _count(environment, "RESCHEDULES_PER_HOUR", usual.reschedules_per_hour)
    return FaultRules(count, _share(environment, "FLEET_SUSPECT_SHARE", usual.suspect_share), window, quiet)


def _reclaim_rules(environment: Mapping[str, str]) -> ReclaimRules | None:
    if not environment.get("RECLAIM_IDLE_AFTER"):
        return None
    window = duration(environment, "RECLAIM_IDLE_AFTER", DEFAULT_IDLE_RULES.window)
    warning = duration(environment, "RECLAIM_WARNING", ReclaimRules(DEFAULT_IDLE_RULES).warning)
    if not SHORTEST_WINDOW <= window <= LONGEST_WINDOW or warning < timedelta(0):
        raise ConfigurationError("RECLAIM_IDLE_AFTER must be from 5m to 30d, and RECLAIM_WARNING at least 0s")
    return ReclaimRules(replace(DEFAULT_IDLE_RULES, window=window), warning)


def _share(environment: Mapping[str, str], name: str, default: float) -> float:
    text = environment.get(name, str(default))
    if not re.fullmatch(r"0?\.[0-9]{1,9}|1(\.0{1,9})?", text) or float(text) == 0:
        raise ConfigurationError(f"{name} must be a part such as 0.25, more than 0 and at most 1, not {text[:20]!r}")
    return float(text)


def metrics_interval(environment: Mapping[str, str] = os.environ) -> timedelta:
    """METRICS_INTERVAL, of the api: for how long /metrics answers the same. 0s asks the database each time."""
    return duration(environment, "METRICS_INTERVAL", DEFAULT_METRICS_INTERVAL)


def insecure_clusters(environment: Mapping[str, str] = os.environ) -> frozenset[str]:
    """The clusters that CLUSTERS_ALLOW_INSECURE names."""
    names = (name.strip() for name in environment.get("CLUSTERS_ALLOW_INSECURE", "").split(","))
    return frozenset(name for name in names if name)


def required(environment: Mapping[str, str], name: str, meaning: str) -> str:
    """The variable's value. Raises ConfigurationError when it is missing or empty."""
    value = environment.get(name, "").strip()
    if not value:
        raise ConfigurationError(f"set {name} to {meaning}")
    return value
