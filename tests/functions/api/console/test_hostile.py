"""What others have named is shown as the text that it is, in every view."""

from __future__ import annotations

import itertools
import json
import re
import uuid
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from shared.models.faults import FaultReport
from shared.models.lifecycle import Phase
from shared.models.telemetry import Blame, FaultKind, FaultState
from tests.functions.api.console.conftest import VIEWS, Console, Visit
from tests.functions.api.console.hostile import HOSTILE
from tests.functions.telemetry_ingestion.conftest import Telemetry, gpu
from tests.support.builders import id_of, set_columns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Route

pytestmark = pytest.mark.browser

MARKUP = {"IMG", "IFRAME", "OBJECT", "EMBED", "STYLE", "BASE", "VIDEO", "AUDIO", "TEMPLATE", "B", "I", "FONT"}
"""Elements that the page never makes itself."""

KEPT = re.compile(
    "id|phase|what|verb|outcome|kind|blame|state|type|next|plan|workload|gpu|team|cluster|node|key|by|role|time|status"
    "|createdAt|updatedAt|at|since|until|observedAt|raisedAt|lastContact|decidedAt|faultySince|provenAt"
    "|usdPerHour|usd|idleUsd|monthToDateUsd|forecastUsd|ceilingUsd|allocatedGpuHours|usedGpuHours"
)
"""Fields that the page decides or counts by, whose values are Sentinel's own. All else is text of somebody."""

WORDS = {"warnings", "determining", "waitsFor"}
"""Lists of text that are empty in what the tests make."""


def markup(visit: Visit) -> tuple[list[str], list[str]]:
    """The elements, and every attribute that could run or load something."""
    found = visit.page.evaluate(
        """() => {
            const all = [...document.querySelectorAll("*")];
            const names = ["style", "srcdoc", "src", "href", "action", "formaction", "data"];
            const risky = (one) => one.name.startsWith("on") || names.includes(one.name);
            const of = (one) => [...one.attributes].filter(risky).map((found) => `${found.name}=${found.value}`);
            return [all.map((one) => one.tagName), all.flatMap(of)];
        }"""
    )
    return found[0], found[1]


def unharmed(visit: Visit) -> None:
    """Nothing that was text has become a part of the page, and none of it leads or asks elsewhere."""
    tags, attributes = markup(visit)
    assert not MARKUP & set(tags)
    assert tags.count("SCRIPT") == 1
    for attribute in attributes:
        name, _, value = attribute.partition("=")
        assert name in ("href", "src"), attribute
        assert value.startswith(("#/", "#main", "/console/")), attribute
    assert visit.page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    visit.faultless()


def test_text_of_agents_clusters_and_operators_is_shown_as_it_is(console: Console, telemetry: Telemetry) -> None:
    telemetry.deliver.submit("chat")
    message, reason = HOSTILE[1], HOSTILE[2]
    raised = datetime(2026, 1, 1, tzinfo=UTC)
    fault = FaultReport(
        uuid.uuid4(),
        "local",
        "gpu-0",
        "GPU-0",
        FaultKind.DEGRADED,
        FaultState.RAISED,
        Blame.GPU,
        raised,
        message=message,
    )
    with console.store.begin() as work:
        work.nodes.keep("local", {"gpu-0": {HOSTILE[0]: 2}})
        work.faults.add_raised(fault, work.now)
        set_columns(work, "workloads", id_of("chat"), phase=Phase.FAILED.value, reason=reason)
    telemetry.send(gpu(0, product=HOSTILE[3], profile=HOSTILE[0], parent="GPU-9"))
    visit = console.visit()
    visit.log_in()
    assert reason in visit.row("Workloads that need attention", "chat")
    unharmed(visit)
    visit.show(f"#/workloads/{id_of('chat')}")
    assert reason[1:] in visit.page.locator("#verdict").inner_text()
    unharmed(visit)
    visit.show("#/gpus")
    visit.page.get_by_text("Numbers").click()
    assert message in visit.page.locator(".faults").inner_text()
    assert HOSTILE[0] in visit.page.locator(".node").inner_text()
    unharmed(visit)


def populated(console: Console, telemetry: Telemetry) -> Visit:
    """Something in every view, and a visit that has logged in."""
    deliver = telemetry.deliver
    for name in ("chat", "rank"):
        deliver.decide(name)
    deliver.submit("copy")
    with console.store.begin() as work:
        work.nodes.keep("local", {"gpu-0": {"H100": 3}})
        set_columns(work, "workloads", id_of("copy"), phase=Phase.DEGRADED.value, reason="x")
    telemetry.send(gpu(0, containers=[{"namespace": "search", "pod": "p", "container": "c"}]), gpu(1))
    visit = console.visit()
    visit.log_in()
    return visit


def show_instead(visit: Visit, text: Callable[[str], str]) -> None:
    """Whatever the API answers, the page gets this text of each field that is somebody's."""
    from playwright.sync_api import Error

    def replaced(value: Any, name: str = "") -> Any:
        match value:
            case dict():
                return {key: replaced(one, key) for key, one in value.items()}
            case list():
                return [replaced(one, name) for one in value] or ([text(name)] if name in WORDS else [])
            case str() if KEPT.fullmatch(name) is None:
                return text(name)
            case _:
                return value

    def rewrite(route: Route) -> None:
        with suppress(Error):  # the page has gone on, or the test is over, and nobody waits for this answer
            answer = route.fetch()
            route.fulfill(response=answer, body=json.dumps(replaced(answer.json())))

    for pattern in ("**/api/v1/workloads**", "**/api/v1/queue**", "**/api/v1/nodes**", "**/api/v1/gpus**"):
        visit.page.route(pattern, rewrite)
    visit.page.route("**/api/v1/cost**", rewrite)
    visit.page.route("**/api/v1/auth/me", rewrite)
    visit.page.route("**/api/v1/policies/simulate", rewrite)
    visit.page.reload()
    visit.settled()


def unfolded(visit: Visit) -> Iterator[str]:
    """Shows view after view, with everything that can be opened."""
    for view in (*VIEWS, f"#/workloads/{id_of('chat')}", "#/cost?by=workload", "#/?phase=<script>&team=__proto__"):
        visit.show(view)
        if view == "#/simulate":
            visit.page.get_by_role("button", name="Simulate").click()
            visit.page.locator("#result h2").wait_for()
        for summary in visit.page.locator("summary").all():
            summary.click()
        yield view


def test_every_text_of_every_answer_may_be_hostile(console: Console, telemetry: Telemetry) -> None:
    visit = populated(console, telemetry)
    seldom, often = itertools.cycle(HOSTILE), itertools.cycle(HOSTILE)
    show_instead(visit, lambda name: next(often if name in ("name", "reason", "message") else seldom))
    unseen = set(HOSTILE)
    for _ in range(10):  # each time the texts stand in other places
        for _ in unfolded(visit):
            unharmed(visit)
            seen = visit.page.locator("body").text_content() or ""
            unseen -= {text for text in unseen if text in seen}
        if not unseen:
            break
    assert unseen == set()


@pytest.mark.parametrize("width", [1280, 390])
def test_a_word_without_end_makes_no_view_wider_than_the_screen(
    console: Console, telemetry: Telemetry, width: int
) -> None:
    visit = populated(console, telemetry)
    visit.page.set_viewport_size({"width": width, "height": 800})
    show_instead(visit, lambda _: "W" * 3000)
    for view in unfolded(visit):
        assert visit.page.evaluate("document.documentElement.scrollWidth") == width, view


def test_an_event_of_the_stream_may_say_anything(console: Console) -> None:
    visit = console.visit()
    event = {"time": HOSTILE[0], "what": HOSTILE[1], "workload": HOSTILE[2], "team": HOSTILE[3], "detail": {}}
    body = f"id: 1-1-0-1\nevent: x\ndata: {json.dumps(event)}\n\n"
    bodies = [body]

    def answer(route: Route) -> None:
        if bodies:
            route.fulfill(body=bodies.pop(), content_type="text/event-stream")
        else:
            route.abort()

    visit.page.route("**/api/v1/events/stream", answer)
    visit.log_in()
    visit.page.locator("#recent a").wait_for()
    assert HOSTILE[1] in visit.page.locator("#recent").inner_text()
    tags, _ = markup(visit)
    assert not MARKUP & set(tags)
    assert visit.dialogs == visit.elsewhere == []


def test_what_the_login_form_is_told_is_text(console: Console) -> None:
    visit = console.visit()
    refusal = {"status": 401, "detail": HOSTILE[1], "errors": []}
    visit.page.route("**/auth/login", lambda route: route.fulfill(status=401, json=refusal))
    visit.page.goto(f"{console.address}/#/<img src=x onerror=alert(1)>")
    visit.page.get_by_label("Name").fill(HOSTILE[0])
    visit.page.get_by_label("Password").fill("x")
    visit.page.keyboard.press("Enter")
    visit.page.get_by_role("alert").filter(has_text=HOSTILE[1]).wait_for()
    unharmed(visit)
