"""Access tokens: what counts, and every forgery that does not."""

import base64
import hashlib
import hmac
import json
import logging
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

from shared.errors import Unauthenticated
from shared.identity import keys
from shared.identity.keys import KeyDirectory
from shared.identity.tokens import Claims, Tokens

NOW = datetime(2026, 11, 29, 9, tzinfo=UTC)
LATER = NOW + timedelta(minutes=15)
ACCOUNT, LOGIN = uuid.uuid4(), uuid.uuid4()


@pytest.fixture(scope="module")
def rsa_key() -> RSAPrivateKey:
    return generate_private_key(65537, 2048)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory, rsa_key: RSAPrivateKey) -> KeyDirectory:
    """An Ed25519 key that signs, a next one, and an RSA key that verifies: one that takes long to read."""
    place = tmp_path_factory.mktemp("keys")
    keys.init(place)
    pem = rsa_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (place / "rsa.pem").write_bytes(pem)
    return KeyDirectory(place)


@pytest.fixture
def tokens(directory: KeyDirectory) -> Tokens:
    return Tokens("sentinel", directory.current)


def part(value: object) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def good_claims(**others: object) -> dict[str, Any]:
    times = {"iat": int(NOW.timestamp()), "nbf": int(NOW.timestamp()), "exp": int(LATER.timestamp())}
    who = {"iss": "sentinel", "aud": "sentinel", "sub": str(ACCOUNT), "sid": str(LOGIN), "jti": str(uuid.uuid4())}
    return {**who, **times, **others}


def signed(directory: KeyDirectory, payload: bytes, **header: object) -> str:
    """A token with any payload and header, signed with the key that signs."""
    key = directory.current().signing
    assert isinstance(key.private, Ed25519PrivateKey)
    text = f"{part({'alg': key.algorithm, 'kid': key.kid, 'typ': 'at+jwt', **header})}.{part(payload)}"
    return f"{text}.{part(key.private.sign(text.encode()))}"


def test_a_token_says_its_account_and_its_login_until_it_expires(tokens: Tokens) -> None:
    token = tokens.sign(ACCOUNT, NOW, LATER, login=LOGIN)
    assert tokens.verify(token, NOW) == Claims(ACCOUNT, LOGIN, None, LATER)
    assert tokens.verify(token, LATER - timedelta(seconds=1)).account == ACCOUNT
    of_service = uuid.uuid4()
    assert tokens.verify(tokens.sign(ACCOUNT, NOW, LATER, token=of_service), NOW).token == of_service
    with pytest.raises(Unauthenticated, match="has expired"):
        tokens.verify(token, LATER)
    with pytest.raises(Unauthenticated, match="not count yet"):
        tokens.verify(token, NOW - timedelta(minutes=1))


def test_the_helper_of_these_tests_makes_tokens_that_count(tokens: Tokens, directory: KeyDirectory) -> None:
    assert tokens.verify(signed(directory, json.dumps(good_claims()).encode()), NOW).login == LOGIN


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"},
        {"alg": "None"},
        {"alg": "HS256"},
        {"alg": "ES256"},
        {"alg": None},
        {"typ": "JWT"},
        {"kid": "../../../../dev/null"},
        {"kid": "' OR 1=1; --"},
        {"kid": 7},
        {"kid": None},
        {"kid": ""},
        {"jku": "http://evil.test/jwks.json"},
        {"jwk": {"kty": "oct", "k": "AA"}},
        {"x5u": "http://evil.test/x.pem"},
        {"crit": ["exp"]},
        {"b64": False, "crit": ["b64"]},
    ],
    ids=lambda header: "-".join(f"{name}-{value}" for name, value in header.items())[:30],
)
def test_a_header_that_says_anything_else_does_not_count(
    header: dict[str, object], tokens: Tokens, directory: KeyDirectory
) -> None:
    with pytest.raises(Unauthenticated, match="does not count"):
        tokens.verify(signed(directory, json.dumps(good_claims()).encode(), **header), NOW)


def test_a_token_without_a_signature_does_not_count(tokens: Tokens, directory: KeyDirectory) -> None:
    kid = directory.current().signing.kid
    for ending in ("", part(b"")):
        with pytest.raises(Unauthenticated):
            tokens.verify(f"{part({'alg': 'none', 'kid': kid, 'typ': 'at+jwt'})}.{part(good_claims())}.{ending}", NOW)


def test_the_public_half_of_a_key_is_no_secret_of_hs256(
    tokens: Tokens, directory: KeyDirectory, rsa_key: RSAPrivateKey
) -> None:
    public = rsa_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (kid,) = [one["kid"] for one in directory.current().jwks["keys"] if one["kty"] == "RSA"]
    text = f"{part({'alg': 'HS256', 'kid': kid, 'typ': 'at+jwt'})}.{part(good_claims())}"
    forged = f"{text}.{part(hmac.digest(public, text.encode(), hashlib.sha256))}"
    right = jwt.encode(good_claims(), rsa_key, "RS256", {"kid": kid, "typ": "at+jwt"})
    assert tokens.verify(right, NOW).account == ACCOUNT
    with pytest.raises(Unauthenticated):
        tokens.verify(forged, NOW)
    with pytest.raises(Unauthenticated):  # a key has one algorithm, also among those of its own kind
        tokens.verify(jwt.encode(good_claims(), rsa_key, "RS512", {"kid": kid, "typ": "at+jwt"}), NOW)


@pytest.mark.parametrize(
    "payload",
    [
        json.dumps(good_claims(aud="another")),
        json.dumps(good_claims(aud=["another"])),
        json.dumps(good_claims(iss="another")),
        json.dumps(good_claims(exp=str(int(LATER.timestamp())))),
        json.dumps(good_claims(exp=LATER.timestamp() + 0.5)),
        json.dumps(good_claims(exp=True)),
        json.dumps(good_claims(exp=None)),
        json.dumps(good_claims(exp=10**300)),
        json.dumps(good_claims(exp=0)).replace('"exp": 0', '"exp": 1e400'),
        json.dumps(good_claims(exp=0)).replace('"exp": 0', '"exp": NaN'),
        json.dumps(good_claims(nbf="0")),
        json.dumps(good_claims(iat=[])),
        json.dumps(good_claims(sub="nobody")),
        json.dumps(good_claims(sub=7)),
        json.dumps(good_claims(sid={})),
        json.dumps(good_claims(jti="../../x")),
        json.dumps({name: value for name, value in good_claims().items() if name != "exp"}),
        json.dumps([good_claims()]),
        "[" * 2000,
        "\ud800",
    ],
    ids=range(20),
)
def test_claims_that_are_not_plainly_right_do_not_count(payload: str, tokens: Tokens, directory: KeyDirectory) -> None:
    token = signed(directory, payload.encode(errors="surrogatepass"))
    with pytest.raises(Unauthenticated):
        tokens.verify(token, NOW)


@pytest.mark.parametrize("text", ["", "a", "a.b", "a.b.c", "a.b.c.d", "ä.ä.ä", "\0.\0.\0", f"{'W' * 3000}.e.e"])
def test_text_that_is_no_token_does_not_count(text: str, tokens: Tokens) -> None:
    with pytest.raises(Unauthenticated):
        tokens.verify(text, NOW)


def test_a_deep_header_and_a_long_token_are_refused_before_they_are_read(tokens: Tokens) -> None:
    for text in (f"{part(b'[' * 2900)}.e.e", "a" * 2**20, f"{'a' * 2**20}.b.c"):
        with pytest.raises(Unauthenticated, match="does not count"):
            tokens.verify(text, NOW)


def test_nothing_of_a_token_is_said_or_logged(
    tokens: Tokens, directory: KeyDirectory, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    token = tokens.sign(ACCOUNT, NOW, LATER, login=LOGIN)
    for broken in (token[:-4] + "AAAA", signed(directory, b"{}"), token.replace(".", ".e", 1)):
        with pytest.raises(Unauthenticated) as refused:
            tokens.verify(broken, NOW)
        assert not any(piece in f"{refused.value!r}{caplog.text}" for piece in broken.split("."))
        assert refused.value.__cause__ is None


def test_a_token_of_a_key_that_is_taken_away_does_not_count_any_more(tmp_path: Path) -> None:
    keys.init(tmp_path)
    directory = KeyDirectory(tmp_path)
    tokens = Tokens("sentinel", directory.current)
    token = tokens.sign(ACCOUNT, NOW, LATER, login=LOGIN)
    assert tokens.verify(token, NOW)
    keys.rotate(tmp_path)
    reopened = Tokens("sentinel", KeyDirectory(tmp_path).current)
    assert reopened.verify(token, NOW)
    next(tmp_path.glob("previous-*.pem")).unlink()
    with pytest.raises(Unauthenticated):
        Tokens("sentinel", KeyDirectory(tmp_path).current).verify(token, NOW)
