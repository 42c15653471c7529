"""Samples that are read fast are those that their model takes, and say the same; whatever is in doubt is left to it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events import CATALOGUE
from functions.telemetry_ingestion import plain_samples
from shared.errors import EventError
from shared.eventing import codec
from shared.eventing.event import Event
from shared.eventing.processing import EventRequest
from shared.models.telemetry import NodeSample, agent_source
from tests.functions.telemetry_ingestion.conftest import GPU, INGESTION, gpu
from tests.support.builders import request

CONTAINER = {"namespace": "search", "pod": "web-7d9f6c8b5-x2x7k", "container": "main"}
FULL: dict[str, Any] = {
    "cluster": "local",
    "node": "gpu-0",
    "observedAt": "2026-01-01T00:00:00.25+02:00",
    "state": "driver_hung",
    "driver": "580.95.05",
    "metrics": {"load1": 3, "cpu_utilization_percent": 12.5},
    "gpus": [
        {
            "gpu": "GPU-0",
            "index": 0,
            "product": "NVIDIA H100 80GB HBM3",
            "state": "lost",
            "metrics": {"utilization_percent": 87.5, "throttle_reasons": 18446744073709551615, "last_xid": 79},
            "containers": [CONTAINER, {**CONTAINER, "container": "other:1"}],
        },
        {"gpu": "MIG-0", "index": 0, "parent": "GPU-0", "profile": "1g.10gb"},
        {"gpu": "MIG-1", "index": 0, "parent": "GPU-0"},
        {"gpu": "GPU-1", "index": 1, "metrics": {}},
    ],
}
MINIMAL = {"cluster": "local", "node": "gpu-0", "observedAt": "2026-01-01T00:00:00Z"}


def sent(body: bytes, **how: Any) -> EventRequest:
    """The request of the agent of gpu-0."""
    return request(GPU, body, **{"source": agent_source("local", "gpu-0"), "subject": "gpu-0", **how})


def fast(asked: EventRequest) -> NodeSample | None:
    headers, body = asked
    attributes = codec.binary_attributes(headers)
    assert attributes is not None
    return plain_samples.read(attributes, body)


def model(asked: EventRequest) -> NodeSample | None:
    """What the model reads; None for what it refuses."""
    assert INGESTION.group_commit is not None
    try:
        envelope = codec.decode(*asked)
        data = CATALOGUE[GPU].data.model_validate(envelope.data)
        read: NodeSample = INGESTION.group_commit.read(Event(envelope, data, 0))
    except (EventError, ValueError):
        return None
    return read


@pytest.mark.parametrize("document", [FULL, MINIMAL, {**MINIMAL, "gpus": [gpu(0), gpu(1)]}])
@pytest.mark.parametrize("indent", [None, 1])
def test_a_good_sample_is_read_fast(document: dict[str, Any], indent: int | None) -> None:
    asked = sent(json.dumps(document, indent=indent).encode())
    assert fast(asked) == model(asked) is not None


@pytest.mark.parametrize(
    "changed",
    [
        *(
            {"observedAt": moment}
            for moment in ("yesterday", 1767225600, "2026-01-01T00:00:00.1234567Z", "20260101T000000Z")
        ),
        *(
            {"observedAt": moment}
            for moment in ("2026-01-01T00:00:00", "0001-01-01T00:00:00+14:00", "2026-01-01 00:00:00Z")
        ),
        *(
            {"observedAt": moment}
            for moment in ("2026-02-30T00:00:00Z", "2026-01-01T00:00:60Z", "٢٠٢٦-01-01T00:00:00Z")
        ),
        {"cluster": ""},
        {"cluster": "other"},
        {"node": "gpu-1"},
        {"node": "x" * 1025},
        {"state": "new"},
        {"driver": "580\u2028"},
        {"driver": "580\x7f"},
        {"other": 1},
        {"observed_at": "2026-01-01T00:00:00Z"},
        {"metrics": {"speed": 1}},
        {"metrics": {"load1": -1}},
        {"metrics": None},
        {"gpus": None},
        {"gpus": [gpu(0), gpu(0, index=1)]},
        {"gpus": [gpu(0), gpu(1, index=0)]},
        {"gpus": [gpu(number) for number in range(257)]},
        {"gpus": [gpu(0, containers=[{**CONTAINER, "pod": f"web-{number}"} for number in range(65)])]},
        {"gpus": [gpu(0, gpu="")]},
        *({"gpus": [gpu(0, index=index)]} for index in (-1, 256, "0", 0.5)),
        *({"gpus": [gpu(0, product=product)]} for product in ("", None)),
        {"gpus": [gpu(0, state="gone")]},
        {"gpus": [gpu(0, containers=[{}])]},
        *(
            {"gpus": [gpu(0, metrics={"utilization_percent": value})]}
            for value in (100.1, -0.1, None, "1", True, float("nan"), float("inf"))
        ),
    ],
)
def test_what_is_bad_or_odd_is_left_to_the_model(changed: dict[str, Any]) -> None:
    assert fast(sent(json.dumps({**MINIMAL, **changed}, ensure_ascii=False).encode())) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"gpu-0"', b'"gpu-0","node":"gpu-0"'),
        (b'"gpu":"GPU-0"', b'"gpu":"GPU-7","gpu":"GPU-0"'),
        (b'"load1":3', b'"load1":4,"load1":3'),
        (b'"last_xid":79', b'"last_xid":79,"last_xid":79'),
        (b'"pod":"', b'"pod":"other","pod":"'),
        (b'"load1"', b'"loa\\u0064\\u0031"'),
        (b'"lost"', b'"l\\u006fst"'),
        (b"GPU-1", b"GPU-\\u0000"),
        (b"GPU-1", b"GPU-\x00"),
        (b"GPU-1", b"GPU-\xff"),
        (b"GPU-1", b"GPU-\xed\xa0\x80"),
        (b"87.5", b"1e400"),
        (b"87.5", b"NaN"),
        (b"87.5", b"087.5"),
        (b"87.5", b"+87.5"),
        (b'{"cluster"', b'\xef\xbb\xbf{"cluster"'),
        (b'"gpus"', b'"gpus":[],"gpus"'),
    ],
)
def test_a_text_in_doubt_is_left_to_the_model(old: bytes, new: bytes) -> None:
    body = json.dumps(FULL, separators=(",", ":")).encode()
    assert old in body
    assert fast(sent(body)) is not None
    assert fast(sent(body.replace(old, new, 1))) is None


@pytest.mark.parametrize(
    "how", [{"source": agent_source("local", "gpu-1")}, {"source": "/test"}, {"subject": "gpu-1"}, {"subject": None}]
)
def test_what_another_node_sends_is_left_to_the_model(how: dict[str, Any]) -> None:
    assert fast(sent(json.dumps(MINIMAL).encode(), **how)) is None


@pytest.mark.parametrize("content_type", ["text/plain", "application/json; charset=utf-8", "application/x+json"])
def test_another_content_type_is_left_to_the_model(content_type: str) -> None:
    headers, body = sent(json.dumps(MINIMAL).encode())
    assert fast(({**headers, "content-type": content_type}, body)) is None


_TEXT = st.sampled_from(['"gpu-0"', '"a:b"', '":"', '""', '"\\u0041"', '"\x01"', '"\u2028"', '"{"']) | st.text(
    max_size=3
).map(lambda text: json.dumps(text, ensure_ascii=False))
_NUMBER = st.sampled_from(
    ["0", "-0", "1", "1.0", "1e1", "1E-400", "1e400", "100.5", "-1", "01", ".5", "1.", f"{2**64 - 1}", f"{10**21 + 1}"]
)
_ANY = _TEXT | _NUMBER | st.sampled_from(["null", "true", "[]", "{}", "NaN"])


def _documents(odd: bool) -> st.SearchStrategy[str]:
    """Samples as texts. odd: with members that may have any value, or are there twice."""

    def one_of(*usual: str) -> st.SearchStrategy[str]:
        return st.sampled_from(usual) | _ANY if odd else st.sampled_from(usual)

    def members(required: dict[str, st.SearchStrategy[str]], **more: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        pairs = required | more
        names = st.permutations(list(pairs))
        if more:
            names |= st.lists(st.sampled_from(list(more)), unique=True).map(lambda some: [*required, *some])
        if odd:
            names |= st.lists(st.sampled_from(list(pairs)), max_size=len(pairs) + 1)
        space = st.sampled_from(["", " ", "\n", "\t"])

        def text(names: list[str], values: dict[str, str], left: str, right: str) -> str:
            return "{" + ",".join(f'{left}"{name}"{right}:{left}{values[name]}{right}' for name in names) + "}"

        return st.builds(text, names, st.fixed_dictionaries(pairs), space, space)

    def listed(of: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        return st.lists(of, max_size=3).map(
            lambda items: f"[{','.join(item.replace('#', str(number)) for number, item in enumerate(items))}]"
        )

    container = members({name: one_of('"main"', '"a:b"', '"é😀"') for name in CONTAINER})
    texts = one_of('"NVIDIA H100 80GB HBM3"', '":"', '"é😀"')
    moments = one_of('"2026-01-01T00:00:00Z"') | st.datetimes().map(lambda at: f'"{at.isoformat()}+05:30"')
    gpu_metrics = members(
        {},
        utilization_percent=one_of("87.5", "1e1", "0"),
        power_watts=one_of("1", "-0", "2e3"),
        last_xid=one_of("79"),
    )
    gpu = members(
        {"gpu": one_of('"GPU-#"'), "index": one_of("#")},
        product=texts,
        state=one_of('"lost"', '"ok"'),
        parent=one_of('"GPU-0"'),
        profile=one_of('"1g.10gb"'),
        metrics=gpu_metrics,
        containers=listed(container),
    )
    return members(
        {"cluster": one_of('"local"'), "node": one_of('"gpu-0"'), "observedAt": moments},
        state=one_of('"ok"', '"no_gpu"'),
        driver=one_of('"580.95.05"'),
        metrics=members({}, load1=one_of("3", "0.5")),
        gpus=listed(gpu),
    )


@given(st.one_of(_documents(odd=False), _documents(odd=True)))
def test_what_is_read_fast_is_what_the_model_reads(text: str) -> None:
    asked = sent(text.encode(errors="surrogatepass"))
    read = fast(asked)
    assert read is None or read == model(asked)
