"""What Sentinel takes for granted of a Prometheus: the suite that the fake and Debian's both pass.

Its queries need no metrics, so what it says of Prometheus is true of an empty one.
"""

import time

import pytest

from shared.errors import PrometheusError, QueryRefused
from shared.models.collection import MetricQuery, Series
from shared.prometheus.client import Prometheus

TIME = "time()"
LABELLED = 'label_replace(vector(2), "workload", "web \\"1\\"", "", "")'
TWO = f'{LABELLED} or label_replace(vector(3), "workload", "db", "", "")'
RANGE = "vector(5)"
NOT_A_NUMBER = "vector(0) / vector(0)"
INFINITE = "vector(1) / vector(0)"
UNKNOWN = "nobody_has_this_metric"
UNFINISHED = "sum("
AMBIGUOUS = f"vector(1) + on () ({TWO})"


class PrometheusContract:
    def ask(self, prometheus: Prometheus, *queries: MetricQuery) -> list[list[Series] | PrometheusError]:
        return prometheus.ask(queries, prometheus.deadline())

    def one(self, prometheus: Prometheus, promql: str) -> list[Series]:
        [answer] = self.ask(prometheus, MetricQuery(promql))
        assert not isinstance(answer, PrometheusError), answer
        return answer

    def test_it_tells_its_time(self, prometheus: Prometheus) -> None:
        [series] = self.one(prometheus, TIME)
        [value] = series.points.values()
        assert abs(value - time.time()) < 60

    def test_an_instant_query_has_labels_and_a_value_at_the_moment_that_was_asked_for(
        self, prometheus: Prometheus
    ) -> None:
        at = 1_700_000_000.0
        [answer] = self.ask(prometheus, MetricQuery(LABELLED, at, at))
        assert answer == [Series({"workload": 'web "1"'}, {at: 2.0})]

    def test_several_series_stay_apart(self, prometheus: Prometheus) -> None:
        found = self.one(prometheus, TWO)
        assert sorted(one.labels["workload"] for one in found) == ["db", 'web "1"']

    def test_a_range_has_a_value_a_minute_both_ends_included(self, prometheus: Prometheus) -> None:
        start = 1_700_000_000.0
        [answer] = self.ask(prometheus, MetricQuery(RANGE, start, start + 180))
        assert answer == [Series({}, {start + at: 5.0 for at in (0, 60, 120, 180)})]

    @pytest.mark.parametrize("promql", [NOT_A_NUMBER, INFINITE])
    def test_a_value_that_is_no_number_is_left_out(self, prometheus: Prometheus, promql: str) -> None:
        assert self.one(prometheus, promql) == [Series({}, {})]

    def test_a_metric_that_nobody_has_is_no_series(self, prometheus: Prometheus) -> None:
        assert self.one(prometheus, UNKNOWN) == []

    def test_what_is_no_promql_is_refused_with_the_reason_and_not_asked_again(self, prometheus: Prometheus) -> None:
        [answer] = self.ask(prometheus, MetricQuery(UNFINISHED))
        assert isinstance(answer, QueryRefused)
        assert "400: bad_data" in str(answer)

    def test_what_cannot_be_computed_is_refused_with_the_reason(self, prometheus: Prometheus) -> None:
        [answer] = self.ask(prometheus, MetricQuery(AMBIGUOUS))
        assert isinstance(answer, QueryRefused)
        assert "422: execution" in str(answer)

    def test_many_queries_are_answered_in_their_order(self, prometheus: Prometheus) -> None:
        asked = [RANGE, UNFINISHED, UNKNOWN, LABELLED] * 5
        answers = self.ask(prometheus, *map(MetricQuery, asked))
        kinds = [type(one).__name__ if isinstance(one, PrometheusError) else len(one) for one in answers]
        assert kinds == [1, "QueryRefused", 0, 1] * 5
