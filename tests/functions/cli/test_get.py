"""`sentinel get` and `sentinel remove`: workloads as they stand, and the one that is meant."""

import uuid
from datetime import timedelta

import pytest
import sqlalchemy as sa

from functions.cli.views.printing import age
from shared.models.lifecycle import Phase
from shared.policy.documents import PolicyDocument
from shared.store.tables import workloads
from shared.store.unit_of_work import Store
from tests.functions.cli.conftest import Sentinel
from tests.support.brokers import Broker
from tests.support.builders import Deliver, connection_of, id_of


def test_a_table_has_one_line_a_workload_and_nothing_but_columns(sentinel: Sentinel, deliver: Deliver) -> None:
    deliver.submit("b")
    deliver.submit("a", team="ads", replicas=3, resources={"cpu": "1", "memory": "1Gi"})
    ran = sentinel("get")
    assert ran.code == 0
    header, first, second = ran.lines
    assert header.split() == [
        *("NAME", "TEAM", "NAMESPACE", "TYPE", "PHASE", "GENERATION", "REVISION"),
        *("REPLICAS", "GPUS", "USD/H", "CLUSTER", "AGE"),
    ]
    assert first.split()[:9] == ["a", "ads", "search", "inference", "proposed", "1", "0", "3", "0"]
    assert second.split()[:9] == ["b", "search", "search", "inference", "proposed", "1", "0", "2", "2"]
    assert [line.index("proposed") for line in (first, second)] == [header.index("PHASE")] * 2
    assert "\x1b" not in ran.out


def test_an_autoscaled_workload_shows_its_range_and_what_the_most_of_it_costs(
    sentinel: Sentinel, deliver: Deliver
) -> None:
    deliver.submit(replicas={"max": 6})
    assert sentinel("get").lines[1].split()[7:10] == ["1-6", "6", "5.79"]
    [shown] = sentinel("get", "-o", "json").json
    assert (shown["replicas"], shown["gpus"]) == ({"min": 1, "max": 6}, 6)


def test_colours_are_for_terminals_alone_and_lines_are_never_cut(sentinel: Sentinel, deliver: Deliver) -> None:
    deliver.submit("n" * 63, team="t" * 63, namespace="s" * 63)
    plain = sentinel("get", COLUMNS="40")
    assert "n" * 63 in plain.lines[1]
    assert "t" * 63 in plain.lines[1]
    coloured = sentinel("get", COLUMNS="40", FORCE_COLOR="1", TERM="xterm-256color")
    assert "\x1b[33mproposed\x1b[0m" in coloured.out
    assert "\x1b[33m" not in sentinel("get", FORCE_COLOR="1", NO_COLOR="1").out


def test_team_namespace_and_phase_narrow_the_list(sentinel: Sentinel, deliver: Deliver) -> None:
    deliver.submit("a", team="ads")
    deliver.submit("b", namespace="web")
    deliver.decide("c")

    def names(*arguments: str) -> list[str]:
        return [one["name"] for one in sentinel("get", "-o", "json", *arguments).json]

    assert names() == ["a", "c", "b"]
    assert names("--team", "ads") == ["a"]
    assert names("--namespace", "web") == ["b"]
    assert names("--phase", "approved") == ["c"]
    assert names("--team", "nobody") == []
    assert len(sentinel("get", "--team", "nobody").lines) == 1


def test_programs_get_exact_money_and_full_ids(sentinel: Sentinel, deliver: Deliver) -> None:
    deliver.submit()
    [one] = sentinel("get", "-o", "json").json
    assert one["id"] == str(id_of())
    assert (one["phase"], one["gpus"], one["cluster"], one["withdrawn"]) == ("proposed", 2, "local", False)
    assert isinstance(one["usdPerHour"], str)
    assert one["createdAt"].endswith("Z")
    assert sentinel("get", "-o", "yaml").yaml == [one]


def test_one_workload_by_name_or_id_comes_with_its_spec_and_reason(
    sentinel: Sentinel, deliver: Deliver, store: Store
) -> None:
    deliver.submit()
    with store.begin() as work:
        workload = work.workloads.get(id_of())
        assert workload is not None
        work.workloads.advance(workload, Phase.DENIED, reason="too dear\x1b[2J\nfor us")
    detail = sentinel("get", "test-inference", "-o", "json").json
    assert detail == sentinel("get", id_of(), "-o", "yaml").yaml
    assert detail["spec"]["resources"]["gpu"] == {"count": 1, "sku": "L4", "mig": None, "product": None}
    header, line = sentinel("get", id_of()).lines[:2]
    assert header.split()[0::12] == ["ID", "AGE"]
    assert header.split()[-1] == "REASON"
    assert line.startswith(str(id_of()))
    assert line.endswith("too dear\\x1b[2J\\nfor us")


def test_a_denied_workload_is_told_what_would_pass_now(sentinel: Sentinel, deliver: Deliver, store: Store) -> None:
    def limit(gpus: int) -> None:
        rules = [{"type": "quota", "scope": "team", "gpus": gpus}]
        with store.begin() as work:
            work.policies.put(PolicyDocument.model_validate({"name": "gpus", "rules": rules}), "tests")

    limit(3)
    deliver.decide(replicas=4)
    assert sentinel("get", id_of()).lines[-2:] == ["WOULD PASS ON TODAY'S FACTS", "ask for 3 replicas instead of 4"]
    change = {"replicas": 3, "sku": None, "cluster": None, "at": None}
    [suggested] = sentinel("get", id_of(), "-o", "json").json["wouldPass"]
    assert suggested == {"message": "ask for 3 replicas instead of 4", **change}
    limit(0)
    assert "nothing that was tried" in sentinel("get", id_of()).out
    assert sentinel("get", id_of(), "-o", "json").json["wouldPass"] == []
    limit(4)
    assert "submit it again as it is: it would be approved now" in sentinel("get", id_of()).out
    deliver.decide(replicas=3)
    assert "wouldPass" not in sentinel("get", id_of(), "-o", "json").json


def test_a_name_that_fits_several_asks_which(sentinel: Sentinel, deliver: Deliver) -> None:
    deliver.submit(team="ads")
    deliver.submit()
    ran = sentinel("get", "test-inference")
    assert (ran.code, ran.out) == (1, "")
    assert f"ads/search/test-inference ({id_of(team='ads')}), search/search/test-inference ({id_of()})" in ran.err
    assert "give --team and --namespace, or the id" in ran.err
    assert sentinel("get", "test-inference", "--team", "ads").code == 0
    for number in range(5):
        deliver.submit(team=f"team-{number}")
    assert " and more: give" in sentinel("get", "test-inference").err


def test_what_is_not_there_is_said_in_one_line(sentinel: Sentinel, deliver: Deliver) -> None:
    unknown = uuid.uuid4()
    assert sentinel("get", unknown).err == f"sentinel: there is no workload {unknown}\n"
    deliver.submit()
    ran = sentinel("get", "test-inference", "--team", "ads", "--namespace", "web")
    assert ran.code == 1
    assert ran.err == (
        "sentinel: there is no workload test-inference in team ads in namespace web; "
        f"of that name there is search/search/test-inference ({id_of()})\n"
    )


def test_a_list_that_is_longer_than_the_limit_says_so(sentinel: Sentinel, deliver: Deliver) -> None:
    deliver.submit("a")
    deliver.submit("b")
    ran = sentinel("get", "--limit", "1")
    assert len(ran.lines) == 2
    assert ran.err.startswith("sentinel: only the first 1 are shown; see the rest with --limit")
    assert sentinel("get", "--limit", "2").err == ""


def test_a_removal_prints_the_id_and_programs_are_told_more(sentinel: Sentinel, deliver: Deliver) -> None:
    deliver.submit()
    ran = sentinel("remove", "test-inference", "--team", "search", "--namespace", "search")
    assert (ran.code, ran.out, ran.err) == (0, f"{id_of()}\n", "")
    deliver.submit("other")
    [told] = sentinel("remove", id_of("other"), "-o", "yaml").yaml
    shown = sentinel("get", id_of("other"), "-o", "json").json
    assert shown["withdrawn"] is True
    assert told == {
        "id": shown["id"],
        "workload": "search/search/other",
        "generation": shown["generation"],
        "plan": shown["plan"],
    }


def test_a_removal_by_name_never_reaches_into_another_team(
    sentinel: Sentinel, deliver: Deliver, broker: Broker
) -> None:
    deliver.submit()
    ran = sentinel("remove", "test-inference")
    assert ran.code == 1
    assert "there is no workload test-inference in team default in namespace default; of that name there is" in ran.err
    assert broker.events == []


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-3, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (7199, "119m"),
        (7200, "2h"),
        (172_799, "47h"),
        (172_800, "2d"),
    ],
)
def test_ages_use_the_largest_unit_that_says_something(store: Store, deliver: Deliver, seconds: int, said: str) -> None:
    deliver.submit()
    with store.begin() as work:
        connection_of(work).execute(workloads.update().values(created_at=work.now - timedelta(seconds=seconds)))
        created = connection_of(work).execute(sa.select(workloads.c.created_at)).scalar_one()
        assert age(created, work.now) == said
