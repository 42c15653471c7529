"""ID tokens of external issuers: configured ones alone, with their own keys, fetched seldom and within bounds."""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

from shared.errors import Unauthenticated
from shared.identity.https import MAX_BYTES, fetcher
from shared.identity.oidc import ExternalIssuers, ExternalUser, IssuerUnavailable
from shared.settings import OidcIssuer
from tests.support.api_servers import scripted_server
from tests.support.certificates import Authority

NOW = datetime(2026, 11, 29, 9, tzinfo=UTC)
ISSUER = "https://login.test/realm"


@pytest.fixture(scope="module")
def key() -> RSAPrivateKey:
    return generate_private_key(65537, 2048)


def jwk_of(key: RSAPrivateKey, **others: object) -> dict[str, Any]:
    public = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    del public["key_ops"]
    return {**public, "kid": "one", **others}


@dataclass
class Issuer:
    """What an issuer publishes, and how often it was asked."""

    keys: list[Any]
    document: Mapping[str, Any] = field(
        default_factory=lambda: {"issuer": ISSUER, "jwks_uri": "https://login.test/realm/keys"}
    )
    asked: list[str] = field(default_factory=list)
    away: bool = False
    seconds: float = 0.0

    def fetch(self, url: str) -> bytes:
        self.asked.append(url)
        if self.away:
            raise IssuerUnavailable("away")
        return json.dumps(self.document if url.endswith("configuration") else {"keys": self.keys}).encode()


def issuers(published: Issuer) -> ExternalIssuers:
    return ExternalIssuers([OidcIssuer(ISSUER, "sentinel")], lambda _: published.fetch, lambda: published.seconds)


def id_token(key: RSAPrivateKey, headers: Mapping[str, object] | None = None, /, **others: object) -> str:
    times = {"iat": int(NOW.timestamp()), "exp": int((NOW + timedelta(minutes=5)).timestamp())}
    claims = {"iss": ISSUER, "aud": "sentinel", "sub": "00u1", **times, **others}
    return jwt.encode(claims, key, "RS256", {"kid": "one", **(headers or {})})


def test_an_id_token_of_a_configured_issuer_says_who_it_is(key: RSAPrivateKey) -> None:
    published = Issuer([jwk_of(key)])
    found = issuers(published)
    for _ in range(3):
        assert found.verify(id_token(key), NOW) == ExternalUser(ISSUER, "00u1", False)
    assert found.verify(id_token(key, aud=["other", "sentinel"]), NOW).subject == "00u1"
    assert published.asked == [f"{ISSUER}/.well-known/openid-configuration", "https://login.test/realm/keys"]


@pytest.mark.parametrize(
    "others",
    [
        {"iss": "https://evil.test"},
        {"iss": [ISSUER]},
        {"aud": "another"},
        {"exp": int(NOW.timestamp())},
        {"exp": str(int(NOW.timestamp()) + 300)},
        {"exp": float("inf")},
        {"nbf": int(NOW.timestamp()) + 600},
        {"sub": ""},
        {"sub": "a\nb"},
        {"sub": "x" * 256},
        {"sub": 7},
    ],
    ids=range(11),
)
def test_a_token_that_says_anything_else_is_refused(others: dict[str, object], key: RSAPrivateKey) -> None:
    if not isinstance(others.get("iss", ""), str):
        headers, payload = {"alg": "RS256", "kid": "one"}, {"iss": others["iss"], "aud": "sentinel"}
        token = ".".join(base64.urlsafe_b64encode(json.dumps(one).encode()).decode() for one in (headers, payload))
        token = f"{token}.e30"
    else:
        token = id_token(key, None, **others)
    with pytest.raises(Unauthenticated):
        issuers(Issuer([jwk_of(key)])).verify(token, NOW)


def test_a_forged_signature_is_refused_whatever_its_header_says(key: RSAPrivateKey) -> None:
    found = issuers(Issuer([jwk_of(key)]))
    other = generate_private_key(65537, 2048)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    header = base64.urlsafe_b64encode(b'{"alg": "HS256", "kid": "one"}').rstrip(b"=").decode()
    content = f"{header}.{id_token(key).split('.')[1]}"
    digest = base64.urlsafe_b64encode(hmac.digest(public, content.encode(), hashlib.sha256)).rstrip(b"=").decode()
    forged = [
        f"{content}.{digest}",
        id_token(other),
        id_token(other, {"jwk": jwk_of(other)}),
        id_token(other, {"jku": "https://evil.test/keys"}),
        id_token(key, {"kid": "../one"}),
        jwt.encode({"iss": ISSUER, "aud": "sentinel", "sub": "1"}, "", "none"),
        "a.b.c",
        "[" * 9000,
        "x" * 2**20,
    ]
    for token in forged:
        with pytest.raises(Unauthenticated):
            found.verify(token, NOW)


@pytest.mark.parametrize(
    "jwk",
    [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "one"},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "one", "alg": "HS256"},
        {"use": "enc"},
        {"alg": "RSA-OAEP"},
        {"alg": ["RS256"]},
        {"n": 7},
        {"kid": None},
        "key",
    ],
    ids=range(8),
)
def test_what_verifies_no_signature_is_no_key(jwk: Any, key: RSAPrivateKey) -> None:
    published = jwk if isinstance(jwk, str) or "kty" in jwk else jwk_of(key, **jwk)
    with pytest.raises(Unauthenticated):
        issuers(Issuer([published, jwk_of(key, kid="another")])).verify(id_token(key), NOW)


def test_an_unknown_key_is_asked_for_but_not_with_every_token(key: RSAPrivateKey) -> None:
    published = Issuer([jwk_of(key)])
    found = issuers(published)
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            found.verify(id_token(key, {"kid": "two"}), NOW)
    assert len(published.asked) == 2
    published.keys.append(jwk_of(key, kid="two"))
    published.seconds += 31
    assert found.verify(id_token(key, {"kid": "two"}), NOW).subject == "00u1"
    assert len(published.asked) == 4


def test_while_an_issuer_is_away_its_last_keys_count(key: RSAPrivateKey) -> None:
    published = Issuer([jwk_of(key)], away=True)
    found = issuers(published)
    for _ in range(3):
        with pytest.raises(IssuerUnavailable):
            found.verify(id_token(key), NOW)
    assert len(published.asked) == 1
    published.away = False
    published.seconds += 31
    assert found.verify(id_token(key), NOW)
    published.away = True
    published.seconds += 3600
    assert found.verify(id_token(key), NOW)


def test_a_discovery_document_of_another_issuer_is_not_believed(key: RSAPrivateKey) -> None:
    document = {"issuer": "https://evil.test", "jwks_uri": "https://login.test/realm/keys"}
    with pytest.raises(IssuerUnavailable):
        issuers(Issuer([jwk_of(key)], document)).verify(id_token(key), NOW)


def test_documents_are_fetched_over_verified_https_and_within_bounds(tmp_path: Path) -> None:
    authority = Authority()
    (tmp_path / "ca.pem").write_bytes(authority.certificate)
    fetch = fetcher(tmp_path / "ca.pem")
    with scripted_server(authority.server_context(tmp_path)) as server:
        server.will(200, {"keys": []}).will(302, {}).will(200, b"x" * (MAX_BYTES + 1)).will(500, {})
        assert fetch(server.url) == b'{"keys": []}'
        for said in ("answers 302", "more than", "answers 500"):
            with pytest.raises(IssuerUnavailable, match=said):
                fetch(server.url)
        with pytest.raises(IssuerUnavailable, match="SSLError"):
            fetcher()(server.url)
    for url in ("http://127.0.0.1/keys", "file:///etc/passwd", "None"):
        with pytest.raises(IssuerUnavailable, match="no HTTPS URL"):
            fetch(url)
