"""Workloads: listed in pages, and found by the name that a user gives."""

import pytest

from shared.errors import AmbiguousName, NotFound
from shared.models.lifecycle import Phase
from shared.models.page import PageRequest
from shared.models.stored import WorkloadFilter
from shared.operations import workloads
from shared.operations.workloads import WorkloadReference
from shared.store.unit_of_work import Store
from tests.support.builders import Deliver, id_of


def test_a_page_says_whether_there_are_more(store: Store, deliver: Deliver) -> None:
    for name in ("a", "b", "c"):
        deliver.submit(name)
    with store.begin() as work:
        page = workloads.list_workloads(work, WorkloadFilter(), PageRequest(2, "name"))
        assert ([one.spec.name for one in page.items], page.next) == (["a", "b"], ("search", "search", "b"))
        whole = workloads.list_workloads(work, WorkloadFilter(name="c", phase=Phase.PROPOSED), PageRequest(2, "name"))
        assert ([one.spec.name for one in whole.items], whole.next) == (["c"], None)


def test_a_workload_is_found_by_id_and_by_its_name(store: Store, deliver: Deliver) -> None:
    deliver.submit("one")
    deliver.submit("twin", team="a")
    deliver.submit("twin", team="b")
    with store.begin() as work:
        assert workloads.get(work, WorkloadReference(str(id_of("one")))).spec.name == "one"
        assert workloads.get(work, WorkloadReference("one")).id == id_of("one")
        assert workloads.get(work, WorkloadReference("twin", team="b")).spec.team == "b"
        with pytest.raises(AmbiguousName, match=r"twin may mean a/search/twin \(.*\), b/search/twin"):
            workloads.get(work, WorkloadReference("twin"))
        with pytest.raises(NotFound, match="there is no workload twin in team c; of that name there is a/search/twin"):
            workloads.get(work, WorkloadReference("twin", team="c"))


def test_only_a_denied_workload_has_alternatives(store: Store, deliver: Deliver) -> None:
    deliver.decide()
    with store.read() as work:
        assert workloads.alternatives(work, workloads.get(work, WorkloadReference(str(id_of())))) is None
