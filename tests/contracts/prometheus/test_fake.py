"""The suite on the fake that other tests rest on."""

import json
from collections.abc import Iterator, Mapping

import pytest

from shared.prometheus.client import Prometheus
from tests.contracts.prometheus import suite
from tests.support.prometheuses import FakePrometheus, Fault, fake_prometheus


def refusing(kind: str, status: int) -> Fault:
    return status, json.dumps({"status": "error", "errorType": kind, "error": "no"}).encode()


REFUSED = {suite.UNFINISHED: refusing("bad_data", 400), suite.AMBIGUOUS: refusing("execution", 422)}


class Scripted(FakePrometheus):
    def answer(self, path: str, form: Mapping[str, str]) -> Fault:
        return REFUSED.get(form["query"]) or super().answer(path, form)


@pytest.fixture(scope="module")
def prometheus() -> Iterator[Prometheus]:
    with fake_prometheus(kind=Scripted) as fake:
        fake.knows(suite.LABELLED, 2, workload='web "1"').knows(suite.RANGE, 5)
        fake.knows(suite.TWO, 2, workload='web "1"').knows(suite.TWO, 3, workload="db")
        fake.knows(suite.NOT_A_NUMBER, float("nan")).knows(suite.INFINITE, float("inf"))
        yield Prometheus(fake.url)


class TestFake(suite.PrometheusContract): ...
