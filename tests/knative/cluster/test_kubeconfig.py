from __future__ import annotations

import base64
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from knative.local.cluster import kubeconfig
from knative.local.cluster.kubeconfig import KubeconfigError
from tests.knative.certificates import Authority


def config(directory: Path, cluster: dict[str, Any] | None = None, user: dict[str, Any] | None = None) -> Path:
    path = directory / "config"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [
            {"name": "there", "context": {"cluster": "gone", "user": "gone"}},
            {"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "n"}},
        ],
        "clusters": [{"name": "c", "cluster": cluster or {"server": "https://127.0.0.1:6443/"}}],
        "users": [{"name": "u", "user": user or {}}],
    }
    path.write_text(yaml.safe_dump(document))
    return path


def test_flattening_keeps_the_current_context_and_inlines_files(tmp_path: Path) -> None:
    (tmp_path / "pki").mkdir()
    for name in ("ca", "crt", "key", "token"):
        (tmp_path / "pki" / name).write_text(f"{name} content\n")
    user = {"client-certificate": "pki/crt", "client-key": str(tmp_path / "pki" / "key"), "tokenFile": "pki/token"}
    path = config(tmp_path, {"server": "https://x", "certificate-authority": "pki/ca"}, user)
    flat = yaml.safe_load(kubeconfig.flatten(path))
    assert flat["current-context"] == "local"
    assert [len(flat[each]) for each in ("contexts", "clusters", "users")] == [1, 1, 1]
    assert flat["contexts"][0]["context"] == {"cluster": "local", "user": "local", "namespace": "n"}
    cluster, user = flat["clusters"][0]["cluster"], flat["users"][0]["user"]
    assert base64.b64decode(cluster["certificate-authority-data"]) == b"ca content\n"
    assert base64.b64decode(user["client-certificate-data"]) == b"crt content\n"
    assert base64.b64decode(user["client-key-data"]) == b"key content\n"
    assert user["token"] == "token content"
    assert "certificate-authority" not in cluster
    assert not {"client-certificate", "client-key", "tokenFile"} & set(user)


@pytest.mark.parametrize(
    ("user", "authorization"),
    [
        ({}, None),
        ({"token": "t"}, "Bearer t"),
        ({"username": "a", "password": "b"}, "Basic YTpi"),
    ],
)
def test_credentials(tmp_path: Path, user: dict[str, Any], authorization: str | None) -> None:
    found = kubeconfig.access(config(tmp_path, user=user))
    assert found.server == "https://127.0.0.1:6443"
    assert found.authorization == authorization
    assert found.tls is not None
    assert found.tls.verify_mode is ssl.CERT_REQUIRED


def test_credentials_stay_out_of_repr(tmp_path: Path) -> None:
    assert "secret" not in repr(kubeconfig.access(config(tmp_path, user={"token": "secret"})))


def test_client_certificates_and_the_authority_are_loaded(tmp_path: Path) -> None:
    authority = Authority()
    certificate, key = authority.issue("client")
    cluster = {"server": "https://x", "certificate-authority-data": base64.b64encode(authority.certificate).decode()}
    user = {
        "client-certificate-data": base64.b64encode(certificate).decode(),
        "client-key-data": base64.b64encode(key).decode(),
    }
    found = kubeconfig.access(config(tmp_path, cluster, user))
    assert found.tls is not None
    assert len(found.tls.get_ca_certs()) == 1


def test_verification_can_be_switched_off_by_the_kubeconfig(tmp_path: Path) -> None:
    found = kubeconfig.access(config(tmp_path, {"server": "https://x", "insecure-skip-tls-verify": True}))
    assert found.tls is not None
    assert found.tls.verify_mode is ssl.CERT_NONE


def test_an_exec_plugin_gives_a_token(tmp_path: Path) -> None:
    plugin = tmp_path / "plugin.py"
    plugin.write_text("import json, os; print(json.dumps({'status': {'token': os.environ['GIVEN']}}))")
    user = {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": sys.executable,
            "args": [str(plugin)],
            "env": [{"name": "GIVEN", "value": "from-plugin"}],
        }
    }
    assert kubeconfig.access(config(tmp_path, user=user)).authorization == "Bearer from-plugin"


@pytest.mark.parametrize("code", ["raise SystemExit(1)", "print('no json')", "print('{}')"])
def test_an_exec_plugin_that_fails_is_said(tmp_path: Path, code: str) -> None:
    user = {"exec": {"command": sys.executable, "args": ["-c", code]}}
    with pytest.raises(KubeconfigError, match=r"users\.exec: the plugin gave no credentials"):
        kubeconfig.access(config(tmp_path, user=user))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is not a kubeconfig"),
        ("- 1", "is not a kubeconfig"),
        ("current-context: x", "contexts: there is none of the name 'x'"),
        (
            "{contexts: [{name: x, context: {cluster: c}}], current-context: x}",
            "clusters: there is none of the name 'c'",
        ),
    ],
)
def test_a_file_that_is_no_kubeconfig_is_said(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(KubeconfigError, match=message):
        kubeconfig.flatten(path)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(KubeconfigError, match="gone: cannot be read: No such file"):
        kubeconfig.access(tmp_path / "gone")
    with pytest.raises(KubeconfigError, match="certificate-authority: gone cannot be read"):
        kubeconfig.access(config(tmp_path, {"server": "https://x", "certificate-authority": "gone"}))


def test_a_server_without_a_scheme_is_said(tmp_path: Path) -> None:
    with pytest.raises(KubeconfigError, match=r"cluster\.server: must be an http or https URL"):
        kubeconfig.access(config(tmp_path, {"server": "127.0.0.1:6443"}))


def test_certificates_that_are_none_are_said_without_their_content(tmp_path: Path) -> None:
    cluster = {"server": "https://x", "certificate-authority-data": base64.b64encode(b"no certificate").decode()}
    with pytest.raises(KubeconfigError, match="its certificates cannot be used"):
        kubeconfig.access(config(tmp_path, cluster))
