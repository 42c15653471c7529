"""Who may call a function: tokens of the configured issuer, audience and subjects, verified once."""

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

from shared.identity import callers
from shared.identity.callers import CallerCheck, CallerRefused
from shared.settings import CallerSettings
from tests.shared.identity.test_oidc import ISSUER, Issuer, jwk_of

NOW = 1_764_400_000
BROKER = "system:serviceaccount:sentinel:intake-oidc"
SETTINGS = CallerSettings("sentinel-functions", ISSUER, ("system:serviceaccount:sentinel:*",))


@pytest.fixture(scope="module")
def key() -> RSAPrivateKey:
    return generate_private_key(65537, 2048)


@dataclass
class Called:
    """A check of callers, at a moment."""

    issuer: Issuer
    refusal: HTTPStatus = HTTPStatus.UNAUTHORIZED
    now: float = NOW
    check: CallerCheck = field(init=False)

    def __post_init__(self) -> None:
        self.check = CallerCheck(SETTINGS, self.issuer.fetch, self.refusal, lambda: self.now)

    def status(self, token: str | None, scheme: str = "Bearer") -> int:
        try:
            self.check({} if token is None else {"authorization": f"{scheme} {token}"})
        except CallerRefused as refused:
            return refused.status
        return 200


def signed(key: RSAPrivateKey, **claims: Any) -> str:
    usual = {"iss": ISSUER, "aud": ["sentinel-functions"], "sub": BROKER, "iat": NOW, "nbf": NOW, "exp": NOW + 3600}
    return jwt.encode({**usual, **claims}, key, "RS256", {"kid": "one"})


def test_a_token_of_a_trigger_lets_its_broker_in_and_is_verified_once(key: RSAPrivateKey) -> None:
    called = Called(Issuer([jwk_of(key)]))
    token = signed(key)
    assert [called.status(token) for _ in range(3)] == [200] * 3
    assert len(called.issuer.asked) == 2, "the discovery document, and the keys"
    called.issuer.keys.clear()
    called.now += 3599
    assert called.status(token) == 200
    called.now += 1
    assert called.status(token) == 401


def test_another_token_does_not_count(key: RSAPrivateKey) -> None:
    called = Called(Issuer([jwk_of(key)]))
    other = generate_private_key(65537, 2048)
    for claims in (
        {"aud": ["another"]},
        {"iss": "https://login.test/other"},
        {"sub": "system:serviceaccount:mallory:intake-oidc"},
        {"sub": "system:serviceaccount:sentinel-2:x"},
        {"exp": NOW},
        {"exp": None},
        {"nbf": NOW + 3600},
        {"sub": None},
    ):
        given = {name: value for name, value in claims.items() if value is not None}
        assert called.status(signed(key, **given) if given else _without(key, *claims)) == 401, claims
    for token in (None, "", "x", "a.b.c", signed(other), "é"):
        assert called.status(token) == 401
    assert called.status(signed(key), "Basic") == 401
    with pytest.raises(CallerRefused, match="not of CALLER_ISSUER for CALLER_AUDIENCE") as refused:
        called.check({"authorization": "Bearer secret-token"})
    assert "secret-token" not in str(refused.value)
    assert called.status(signed(key)) == 200


def _without(key: RSAPrivateKey, *names: str) -> str:
    claims = jwt.decode(signed(key), options={"verify_signature": False})
    return jwt.encode({name: claims[name] for name in claims if name not in names}, key, "RS256", {"kid": "one"})


def test_while_nobody_can_tell_the_caller_asks_again(key: RSAPrivateKey) -> None:
    called = Called(Issuer([jwk_of(key)], away=True))
    assert called.status(signed(key)) == 503


def test_who_keeps_what_others_refuse_never_says_for_good_that_it_does_not(key: RSAPrivateKey) -> None:
    called = Called(Issuer([jwk_of(key)]), HTTPStatus.SERVICE_UNAVAILABLE)
    assert [called.status(token) for token in (None, signed(key, aud="another"), signed(key))] == [503, 503, 200]


def test_no_more_tokens_are_remembered_than_a_bound(key: RSAPrivateKey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "MAX_REMEMBERED", 3)
    called = Called(Issuer([jwk_of(key)]))
    for number in range(8):
        assert called.status(signed(key, sub=f"{BROKER}-{number}")) == 200
        assert len(called.check._verified) <= 3
