import pytest

from knative.local.kubernetes import protobuf
from knative.local.kubernetes.errors import ApiError


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2, len(content)]) + content


def _envelope(kind: bytes, raw: bytes) -> bytes:
    return b"k8s\x00" + _field(1, _field(1, b"v1") + _field(2, kind)) + _field(2, raw)


def test_a_namespace_as_kubectl_sends_it() -> None:
    metadata = _field(1, b"foo") + _field(2, b"") + _field(3, b"") + _field(8, b"") + b"\x38\x00"
    raw = _field(1, metadata) + _field(2, b"") + _field(3, _field(1, b""))
    with pytest.raises(ApiError):  # a phase that is set is no field of ours
        protobuf.to_json(_envelope(b"Namespace", raw[:-2] + b"\x0a\x01x"))
    assert protobuf.to_json(_envelope(b"Namespace", raw)) == {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "foo"},
    }


def test_maps_and_bytes_are_read() -> None:
    raw = _field(1, _field(1, b"s")) + _field(2, _field(1, b"key") + _field(2, b"value"))
    assert protobuf.to_json(_envelope(b"Secret", raw))["data"] == {"key": "dmFsdWU="}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"k8s\x00",
        _envelope(b"Pod", b""),
        _envelope(b"Namespace", b"\x0a\x7f"),
        _envelope(b"Namespace", b"\xff"),
        _envelope(b"Namespace", _field(1, _field(15, b"unknown"))),
        _envelope(b"Namespace", _field(1, _field(1, b"\xff\xfe"))),
        _envelope(b"Namespace", b"\x09" + b"\x00" * 8),
    ],
)
def test_what_is_not_understood_is_refused_with_advice(body: bytes) -> None:
    with pytest.raises(ApiError) as refused:
        protobuf.to_json(body)
    assert refused.value.code == 415
    assert "kubectl apply" in refused.value.message
