"""What each view shows of workloads, the queue, GPUs, cost and policy."""

import json
from datetime import timedelta

import pytest

from shared.models.identity import Role, RoleBinding
from shared.models.lifecycle import Phase
from shared.policy.documents import PolicyDocument
from tests.functions.api.console.conftest import Console
from tests.functions.telemetry_ingestion.conftest import Telemetry, gpu
from tests.support.chain import Chain

pytestmark = pytest.mark.browser


def put_policy(console: Console, name: str, *rules: dict[str, object]) -> None:
    with console.store.begin() as work:
        work.policies.put(PolicyDocument.model_validate({"name": name, "rules": rules}), "tests")


def test_the_overview_counts_by_group_and_lists_what_needs_attention(console: Console, chain: Chain) -> None:
    put_policy(console, "money", {"type": "cost_ceiling", "scope": "workload", "usd_per_hour": 4})
    for name in ("web", "chat"):
        chain.submit(name)
        chain.settle(name)
    chain.submit("dear", replicas=8)
    chain.submit("broken", image="fate.test/crash", deadline="PT1S")
    chain.settle("broken")
    visit = console.visit()
    visit.log_in()
    tiles = [one.split() for one in visit.page.locator(".tile").all_inner_texts()]
    assert [one[:3] for one in tiles if len(one) > 3 and one[1] != "On"] == [
        ["●", "Runs", "2"],
        ["◷", "Waits", "0"],
        ["✕", "Fails", "2"],
    ]
    attention = visit.page.get_by_role("table", name="Workloads that need attention")
    assert attention.get_by_role("rowheader").all_inner_texts() == [f"broken\nsearch / {chain.site.namespace}"]
    assert "its ceiling is 4" in visit.row("Workloads", "dear")[6]
    visit.page.get_by_label("Phase", exact=True).focus()
    visit.page.get_by_label("Phase", exact=True).select_option("denied")
    visit.page.get_by_role("heading", name="Workloads that fit").wait_for()
    table = visit.page.get_by_role("table", name="Workloads", exact=True)
    assert table.get_by_role("rowheader").get_by_role("link").all_inner_texts() == ["dear"]
    assert visit.page.evaluate("document.activeElement.id") == "phase"  # what was chosen keeps the focus
    visit.faultless()


def test_a_rollback_is_a_line_a_table_and_a_sentence(console: Console, chain: Chain) -> None:
    chain.submit("web")
    chain.settle("web")
    chain.submit("web", image="fate.test/never-ready:v2", deadline="PT1S", generation=2)
    chain.workload_is(Phase.ROLLED_BACK)
    visit = console.visit()
    visit.log_in(view=f"#/workloads/{chain.id()}")
    page = visit.page
    verdict = page.locator("#verdict").inner_text()
    assert verdict.startswith("✕ rolled back It did not become healthy, and an earlier revision runs again on local.")
    assert "not ready at its deadline" in verdict
    steps = page.locator(".line .step").all_text_contents()
    assert steps[:3] == ["submitted", "approved", "applied"]
    assert "unhealthy" in steps
    assert steps[-1] == "rolled back"
    page.get_by_text("The line as a table").click()
    rows = page.get_by_role("table", name="Steps").locator("tbody tr")
    assert [one.split("\t")[0] for one in rows.all_inner_texts()] == steps
    durations = page.locator(".line .took").all_text_contents()
    assert rows.locator("td.number").all_inner_texts()[1:] == durations
    said = page.locator(".line svg").get_attribute("aria-label") or ""
    assert said.startswith(f"submitted, approved after {durations[0]}, ")
    places = page.evaluate("[...document.querySelectorAll('.mark')].map((one) => one.getBoundingClientRect().x)")
    assert places == sorted(places)
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_selector(".line svg text.step[x='34']")
    heights = page.evaluate("[...document.querySelectorAll('.mark')].map((one) => one.getBoundingClientRect().y)")
    assert heights == sorted(heights)
    visit.faultless()


def test_the_queue_says_what_each_plan_waits_for(console: Console, chain: Chain) -> None:
    chain.limit_gpus(1)
    chain.submit("web")
    for name in ("later", "last"):
        chain.submit(name, queue=True)
    visit = console.visit()
    visit.log_in(view="#/queue")
    first = visit.row("Plans in the queue", "later")
    assert first[0] == f"search/{chain.site.namespace}/later"
    assert first[1:3] == ["1", "GPUs of the team search"]
    assert first[3].endswith("for less than a minute")
    assert visit.row("Plans in the queue", "last")[1] == "2"
    visit.page.get_by_role("link", name=first[0]).click()
    visit.page.get_by_text("It waits in the queue.").wait_for()
    assert visit.page.locator(".line .step").all_text_contents()[-2:] == ["queued", "now"]
    visit.faultless()


def test_gpus_show_faults_exclusions_and_readings_that_are_old(console: Console, telemetry: Telemetry) -> None:
    with console.store.begin() as work:
        work.nodes.keep("local", {"gpu-0": {"H100": 1}, "gpu-1": {"L4": 1}})
        work.nodes.exclude("local", "gpu-1", "user:ada", "its fans rattle", work.now)
    telemetry.send(gpu(0), at=telemetry.now - timedelta(minutes=5))
    visit = console.visit()
    visit.log_in(view="#/gpus")
    old, excluded = visit.page.locator(".node").all_inner_texts()
    assert "no reading for some time" in old
    assert "Takes no new pods: user:ada excluded it (its fans rattle)" in excluded
    assert "2 GPUs, 0 allocated, 0 with a fault, 1 node excluded." in visit.page.locator("main").inner_text()
    visit.faultless()


def test_cost_stands_beside_the_ceiling_and_by_what_is_chosen(console: Console, chain: Chain) -> None:
    put_policy(console, "month", {"type": "cost_ceiling", "scope": "team", "usd_per_month": 100000})
    chain.submit("web")
    chain.settle("web")
    visit = console.visit()
    visit.log_in(view="#/cost")
    row = visit.row("Cost by team", "search")
    assert (row[8], row[9]) == ("US$100,000.00", "0%")
    visit.page.get_by_label("By", exact=True).select_option("workload")
    visit.page.get_by_role("table", name="Cost by workload").get_by_role("link", name="web").click()
    visit.page.get_by_role("heading", name="web", exact=True).wait_for()
    visit.faultless()


def test_a_policy_is_simulated_on_a_workload_that_is_pasted(console: Console, chain: Chain) -> None:
    put_policy(console, "gpus", {"type": "quota", "scope": "team", "gpus": 1})
    console.add_user("ada", RoleBinding(Role.SUBMITTER, "search"))
    visit = console.visit()
    visit.log_in("ada", "#/simulate")
    text, result = visit.page.get_by_label("Workload"), visit.page.get_by_role("region", name="Result")
    visit.page.get_by_role("button", name="Simulate").click()
    result.get_by_text("denied").wait_for()
    assert "gpus / quota: team search would hold 2 GPUs; its quota is 1" in result.inner_text()
    document = json.loads(text.input_value())
    text.fill(json.dumps(document | {"replicas": 1}))
    visit.page.get_by_role("button", name="Simulate").click()
    result.get_by_text("approved").wait_for()
    text.fill('{"name": "x", "type": "inference", "image": "y", "replicas": -1}')
    visit.page.get_by_role("button", name="Simulate").click()
    result.get_by_role("heading", name="This is not a workload").wait_for()
    assert "replicas" in result.inner_text()
    text.fill("{")
    visit.page.get_by_role("button", name="Simulate").click()
    result.get_by_text("is not JSON").wait_for()
    visit.faultless()


def test_an_empty_sentinel_says_so_in_every_view(console: Console) -> None:
    visit = console.visit()
    visit.log_in()
    assert visit.page.get_by_text("No workload fits.").is_visible()
    for view, said in (
        ("#/queue", "Nothing waits in the queue."),
        ("#/gpus", "No cluster has shown a node with GPUs."),
        ("#/cost", "Nothing has cost anything yet."),
    ):
        visit.show(view)
        assert visit.page.get_by_text(said).is_visible()
    visit.faultless()
