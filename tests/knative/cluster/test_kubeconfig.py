from __future__ import annotations

import base64
import ssl
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from knative.local.cluster import kubeconfig
from shared.clusters.kubeconfig import read_connection
from shared.errors import ClusterUnavailable
from tests.support.certificates import Authority


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
    authority = Authority()
    certificate, key = authority.issue("client")
    (tmp_path / "pki").mkdir()
    for name, content in {"ca": authority.certificate, "crt": certificate, "key": key, "token": b"secret\n"}.items():
        (tmp_path / "pki" / name).write_bytes(content)
    user = {"client-certificate": "pki/crt", "client-key": str(tmp_path / "pki" / "key"), "tokenFile": "pki/token"}
    cluster = {
        "server": "https://x",
        "certificate-authority": "pki/ca",
        "tls-server-name": "y",
        "proxy-url": "http://z",
    }
    path = config(tmp_path, cluster, user)
    flat = yaml.safe_load(kubeconfig.flatten(path))
    assert flat["current-context"] == "local"
    assert [len(flat[each]) for each in ("contexts", "clusters", "users")] == [1, 1, 1]
    assert flat["contexts"][0]["context"] == {"cluster": "local", "user": "local"}
    cluster, user = flat["clusters"][0]["cluster"], flat["users"][0]["user"]
    assert base64.b64decode(cluster["certificate-authority-data"]) == authority.certificate
    assert (cluster["tls-server-name"], cluster["proxy-url"]) == ("y", "http://z")
    assert base64.b64decode(user["client-certificate-data"]).strip() == certificate.strip()
    assert base64.b64decode(user["client-key-data"]).strip() == key.strip()
    assert user["token"] == "secret"
    assert "certificate-authority" not in cluster
    assert not {"client-certificate", "client-key", "tokenFile"} & set(user)


def test_what_was_flattened_says_the_same(tmp_path: Path) -> None:
    authority = Authority()
    certificate, key = authority.issue("client")
    encoded = {name: base64.b64encode(pem).decode() for name, pem in {"certificate": certificate, "key": key}.items()}
    user = {"client-certificate-data": encoded["certificate"], "client-key-data": encoded["key"], "token": "t"}
    data = base64.b64encode(authority.certificate).decode()
    first = config(tmp_path, {"server": "https://x", "certificate-authority-data": data}, user)
    second = tmp_path / "flat"
    second.write_text(kubeconfig.flatten(first))
    read, again = read_connection(first), read_connection(second)
    assert replace(again, client_certificate=None) == replace(read, client_certificate=None)
    assert (again.client_certificate or b"").split() == (read.client_certificate or b"").split()
    assert yaml.safe_load(kubeconfig.flatten(second)) == yaml.safe_load(second.read_text())


@pytest.mark.parametrize(("user", "authorization"), [({}, None), ({"token": "t"}, "Bearer t")])
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


def test_a_cluster_that_no_function_could_reach_is_refused(tmp_path: Path) -> None:
    path = config(tmp_path, user={"exec": {"command": "aws"}})
    with pytest.raises(ClusterUnavailable, match=r"config: users\[\]\.user\.exec is not supported"):
        kubeconfig.flatten(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClusterUnavailable, match="gone: No such file"):
        kubeconfig.access(tmp_path / "gone")


def test_certificates_that_are_none_are_named_without_their_content(tmp_path: Path) -> None:
    cluster = {"server": "https://x", "certificate-authority-data": base64.b64encode(b"no certificate").decode()}
    with pytest.raises(ClusterUnavailable, match="its certificates cannot be used"):
        kubeconfig.access(config(tmp_path, cluster))
