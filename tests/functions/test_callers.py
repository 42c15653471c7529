"""Functions that check who calls them, as processes, with an issuer over HTTPS."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

from shared.store.unit_of_work import Store
from tests.shared.identity.test_oidc import jwk_of
from tests.support.api_servers import ScriptedServer, scripted_server
from tests.support.builders import SUBMITTED, in_parallel, request, submission
from tests.support.certificates import Authority
from tests.support.serving import Served, served

pytestmark = pytest.mark.slow

TELEMETRY = "dev.sentinel.telemetry.gpu.v1"
SUBJECT = "system:serviceaccount:sentinel:intake-oidc"


@pytest.fixture(scope="module")
def key() -> RSAPrivateKey:
    return generate_private_key(65537, 2048)


@contextmanager
def guarded(
    function: str, key: RSAPrivateKey, directory: Path, database_url: str
) -> Iterator[tuple[Served, ScriptedServer]]:
    """A function that takes calls of the namespace sentinel alone, and its issuer."""
    authority = Authority()
    (directory / "ca.pem").write_bytes(authority.certificate)
    (directory / "token").write_text("of-the-function\n")
    with scripted_server(authority.server_context(directory)) as issuer:
        issuer.will(200, {"issuer": issuer.url, "jwks_uri": f"{issuer.url}/openid/v1/jwks"})
        issuer.will(200, {"keys": [jwk_of(key)]})
        settings = {
            "CALLER_AUDIENCE": "sentinel-functions",
            "CALLER_ISSUER": issuer.url,
            "CALLER_SUBJECTS": "system:serviceaccount:sentinel:*",
            "CALLER_ISSUER_CA": str(directory / "ca.pem"),
            "CALLER_ISSUER_TOKEN": str(directory / "token"),
        }
        with served([function], directory, DATABASE_URL=database_url, **settings) as running:
            yield running, issuer


def token(key: RSAPrivateKey, issuer: str, subject: str = SUBJECT, audience: str = "sentinel-functions") -> str:
    now = int(datetime.now(UTC).timestamp())
    claims = {"iss": issuer, "aud": [audience], "sub": subject, "iat": now, "exp": now + 600}
    return jwt.encode(claims, key, "RS256", {"kid": "one"})


def post(function: Served, shown: str | None) -> int:
    headers, body = request(SUBMITTED, submission("over-http"), subject=None)
    return function.request(
        "POST", "/", headers if shown is None else headers | {"authorization": f"Bearer {shown}"}, body
    )[0]


def test_a_function_takes_events_of_brokers_alone(
    key: RSAPrivateKey, tmp_path: Path, database_url: str, store: Store
) -> None:
    with guarded("workload_intake", key, tmp_path, database_url) as (intake, issuer):
        assert intake.request("GET", "/healthz")[0] == 200
        assert post(intake, None) == 401
        for wrong in ({"audience": "sentinel"}, {"subject": "system:serviceaccount:mallory:intake-oidc"}):
            assert post(intake, token(key, issuer.url, **wrong)) == 401
        with store.read() as work:
            assert work.audit_log.last_position() is None, "nothing was handled"
        good = token(key, issuer.url)
        assert [post(intake, good) for _ in range(2)] == [200, 200]
        assert [one.path for one in issuer.asked] == ["/.well-known/openid-configuration", "/openid/v1/jwks"]
        assert {one.headers["authorization"] for one in issuer.asked} == {"Bearer of-the-function"}


def test_events_of_a_group_are_checked_one_by_one(key: RSAPrivateKey, tmp_path: Path, database_url: str) -> None:
    def sample(function: Served, node: str, **headers: str) -> int:
        data = {"cluster": "local", "node": node, "observedAt": datetime.now(UTC).isoformat()}
        event, body = request(TELEMETRY, data, source=f"/sentinel/agents/local/{node}", subject=node)
        return function.request("POST", "/", event | headers, body)[0]

    with guarded("telemetry_ingestion", key, tmp_path, database_url) as (ingestion, issuer):
        good = {"authorization": f"Bearer {token(key, issuer.url)}"}
        assert sample(ingestion, "first", **good) == 202
        shown = [good, {}] * 8
        posts = [partial(sample, ingestion, f"node-{number}", **one) for number, one in enumerate(shown)]
        assert in_parallel(*posts) == [202, 401] * 8


def test_the_function_of_dead_letters_tells_whom_it_does_not_know_to_come_back(
    key: RSAPrivateKey, tmp_path: Path, database_url: str, store: Store
) -> None:
    """What it refuses for good, the broker drops."""
    with guarded("dead_letter", key, tmp_path, database_url) as (keeper, issuer):
        assert post(keeper, None) == 503
        with store.read() as work:
            assert work.dead_letters.find() == []
        assert post(keeper, token(key, issuer.url)) < 300
        with store.read() as work:
            [letter] = work.dead_letters.find()
    assert "authorization" not in json.dumps(dict(letter.attributes)).lower()
