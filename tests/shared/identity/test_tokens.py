"""Access tokens: what counts, and the hostile ones that do not. None of them says which part was wrong."""

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
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from shared.errors import ConfigurationError, Unauthenticated
from shared.identity import keys
from shared.identity.tokens import ALGORITHM, AUDIENCE, Claims, Tokens

ISSUER = "https://sentinel.example"
ACCOUNT = uuid.UUID(int=7)
NOW = datetime.now(UTC).replace(microsecond=0)
LATER = NOW + timedelta(minutes=15)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys")
    keys.add(path, NOW)
    return path


@pytest.fixture(scope="module")
def tokens(directory: Path) -> Tokens:
    return Tokens(ISSUER, keys.KeyDirectory(directory).current)


@pytest.fixture(scope="module")
def private(directory: Path) -> Ed25519PrivateKey:
    found = keys.read(directory)
    return found.keys[found.newest]


@pytest.fixture(scope="module")
def kid(directory: Path) -> str:
    return keys.read(directory).newest


def claims(**others: object) -> dict[str, Any]:
    moments = {"nbf": int(NOW.timestamp()), "exp": int(LATER.timestamp())}
    usual = {"iss": ISSUER, "aud": AUDIENCE, "sub": str(ACCOUNT), "jti": str(uuid.uuid4()), "use": "access", **moments}
    return {name: value for name, value in {**usual, **others}.items() if value is not None}


def segment(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def signed(private: Ed25519PrivateKey, header: dict[str, Any], payload: str) -> str:
    """A token over exactly this payload, text as it stands, with a good signature."""
    content = f"{segment(header)}.{segment(payload)}"
    return f"{content}.{base64.urlsafe_b64encode(private.sign(content.encode())).rstrip(b'=').decode()}"


def refused(tokens: Tokens, token: str) -> None:
    with pytest.raises(Unauthenticated, match="the token does not count: it is expired, or not one of"):
        tokens.verify(token)


def test_a_token_says_whose_it_is_until_it_expires(tokens: Tokens) -> None:
    assert tokens.verify(tokens.sign(ACCOUNT, NOW, LATER)) == Claims(ACCOUNT, None, LATER)
    of_service = uuid.uuid4()
    assert tokens.verify(tokens.sign(ACCOUNT, NOW, LATER, of_service)).token == of_service
    refused(tokens, tokens.sign(ACCOUNT, NOW - timedelta(hours=1), NOW - timedelta(minutes=1)))


@pytest.mark.parametrize(
    "others",
    [
        {"iss": "https://else.example"},
        {"aud": "other"},
        {"aud": None},
        {"exp": None},
        {"exp": "tomorrow"},
        {"exp": str(int(LATER.timestamp()))[:3]},
        {"exp": [1]},
        {"nbf": int((NOW + timedelta(hours=1)).timestamp())},
        {"sub": "1 OR 1=1"},
        {"sub": None},
        {"jti": "../../x", "use": "service"},
        {"use": None},
    ],
)
def test_a_claim_that_is_wrong_makes_the_token_void(
    tokens: Tokens, private: Ed25519PrivateKey, kid: str, others: dict[str, object]
) -> None:
    assert tokens.verify(jwt.encode(claims(), private, ALGORITHM, {"kid": kid})).account == ACCOUNT
    refused(tokens, jwt.encode(claims(**others), private, ALGORITHM, {"kid": kid}))


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1" * 5000, "NaN", "[" * 5000 + "]" * 5000])
def test_a_moment_that_no_clock_has_makes_the_token_void(
    tokens: Tokens, private: Ed25519PrivateKey, kid: str, number: str
) -> None:
    payload = json.dumps(claims(exp=None))[:-1] + f', "exp": {number}}}'
    refused(tokens, signed(private, {"alg": ALGORITHM, "kid": kid}, payload))


def test_the_algorithm_is_the_keys_and_never_the_tokens(tokens: Tokens, private: Ed25519PrivateKey, kid: str) -> None:
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    for name in ("none", "None", "NONE"):
        refused(tokens, f"{segment({'alg': name, 'kid': kid})}.{segment(claims())}.")
    content = f"{segment({'alg': 'HS256', 'kid': kid})}.{segment(claims())}"
    forged = base64.urlsafe_b64encode(hmac.new(public, content.encode(), hashlib.sha256).digest()).rstrip(b"=").decode()
    refused(tokens, f"{content}.{forged}")
    refused(tokens, jwt.encode(claims(), generate_private_key(65537, 2048), "RS256", {"kid": kid}))


@pytest.mark.parametrize(
    "header",
    [
        {"kid": "../../etc/passwd"},
        {"kid": "x' OR '1'='1"},
        {"kid": None},
        {"kid": 7},
        {"kid": ["{kid}"]},
        {"kid": "else", "jku": "http://169.254.169.254/keys"},
        {"kid": "else", "jwk": {"kty": "OKP"}},
        {"kid": "{kid}", "crit": ["exp"]},
    ],
)
def test_a_key_is_one_of_ours_whatever_the_header_names(tokens: Tokens, kid: str, header: dict[str, Any]) -> None:
    own = Ed25519PrivateKey.generate()
    made = {"alg": ALGORITHM, **{k: v.format(kid=kid) if isinstance(v, str) else v for k, v in header.items()}}
    if "jwk" in made:
        made["jwk"] = jwt.algorithms.OKPAlgorithm.to_jwk(own.public_key(), as_dict=True)
    refused(tokens, signed(own, made, json.dumps(claims())))


@pytest.mark.parametrize("token", ["", ".", "..", "a.b.c", "x" * 1_048_576, "é", "\x00", "Bearer x"])
def test_what_is_no_token_is_refused(tokens: Tokens, token: str) -> None:
    refused(tokens, token)


def test_nothing_of_a_token_is_logged(tokens: Tokens, caplog: pytest.LogCaptureFixture) -> None:
    token = tokens.sign(ACCOUNT, NOW, LATER)
    with caplog.at_level(logging.DEBUG):
        tokens.verify(token)
        refused(tokens, token + "x")
    assert token.rpartition(".")[2] not in caplog.text


def test_two_keys_live_while_they_are_rotated(tmp_path: Path) -> None:
    keys.add(tmp_path, NOW)
    before = Tokens(ISSUER, lambda: keys.read(tmp_path)).sign(ACCOUNT, NOW, LATER)
    second = keys.add(tmp_path, NOW + timedelta(seconds=1))
    tokens = Tokens(ISSUER, lambda: keys.read(tmp_path))
    assert jwt.get_unverified_header(tokens.sign(ACCOUNT, NOW, LATER))["kid"] == second
    assert tokens.verify(before).account == ACCOUNT
    assert [key["kid"] for key in tokens.public_keys()["keys"]][1] == second
    assert all("d" not in key for key in tokens.public_keys()["keys"])
    keys.add(tmp_path, NOW + timedelta(seconds=2))
    refused(tokens, before)


def test_keys_are_for_their_owner_alone_and_a_bad_one_is_named(tmp_path: Path) -> None:
    kid = keys.add(tmp_path / "new", NOW)
    assert (tmp_path / "new" / f"{kid}.pem").stat().st_mode & 0o777 == 0o600
    with pytest.raises(ConfigurationError, match="holds no key; `python -m shared"):
        keys.read(tmp_path)
    (tmp_path / "new" / "zz.pem").write_text("not a key")
    with pytest.raises(ConfigurationError, match=r"zz\.pem is no private key in PEM"):
        keys.read(tmp_path / "new")
