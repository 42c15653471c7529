"""The page follows what happens, says when it does not, and goes on where it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.functions.api.console.conftest import Console
from tests.support.builders import Deliver

if TYPE_CHECKING:
    from playwright.sync_api import Request, Route

pytestmark = pytest.mark.browser


def test_what_happens_is_shown_without_a_reload_and_said_once_for_all_of_it(console: Console, deliver: Deliver) -> None:
    visit = console.visit()
    visit.page.clock.install()
    visit.log_in()
    visit.page.get_by_text("Live", exact=True).wait_for()
    deliver.decide("chat")
    recent = visit.page.locator("#recent li")
    recent.filter(has_text="chat").nth(1).wait_for()  # its name has come: no request is as fast as this clock
    visit.page.clock.run_for(11_000)
    visit.page.get_by_role("table", name="Workloads", exact=True).get_by_role("link", name="chat").wait_for()
    said = visit.page.locator("#announcer")
    visit.page.wait_for_selector("#announcer:not(:empty)", state="attached")
    assert said.inner_text() == "2 changes; the last: chat approved."
    assert [one.split("\n")[1:3] for one in recent.all_inner_texts()] == [["chat", "approved"], ["chat", "submitted"]]
    assert visit.page.locator("[aria-live=assertive]").count() == 0
    visit.faultless()


def test_a_stream_that_breaks_is_shown_and_goes_on_after_its_last_event(console: Console, deliver: Deliver) -> None:
    visit = console.visit()
    asked: list[str | None] = []

    def note(request: Request) -> None:
        if request.url.endswith("/events/stream"):
            asked.append(request.headers.get("last-event-id"))

    visit.page.on("request", note)
    deliver.submit("first")
    last = "1-1764406800000000-0-1"
    event = f'id: {last}\nevent: plan.proposed\ndata: {{"what": "plan.proposed", "workload": "w", "detail": {{}}}}\n\n'

    def break_off(route: Route) -> None:
        if len(asked) == 1:
            route.fulfill(body=event, content_type="text/event-stream")  # and it is over
        elif len(asked) < 4:
            route.abort()
        else:
            route.continue_()

    visit.page.route("**/events/stream", break_off)
    visit.log_in()
    visit.page.get_by_role("status").filter(has_text="Not live, reconnecting…").wait_for()
    visit.page.get_by_role("status").filter(has_text="Live").filter(has_not_text="Not").wait_for(timeout=20_000)
    assert asked[:4] == [None, last, last, last]


def test_while_the_server_is_away_the_page_keeps_what_it_has_and_says_so(console: Console, deliver: Deliver) -> None:
    deliver.submit("chat")
    visit = console.visit()
    visit.page.clock.install()
    visit.log_in()
    visit.page.route("**/api/**", lambda route: route.abort())
    visit.page.clock.run_for(16_000)
    notice = visit.page.get_by_role("alert")
    notice.filter(has_text="The server does not answer. What you see is of").wait_for()
    assert visit.page.get_by_role("link", name="chat").is_visible()
    visit.show("#/queue")
    assert visit.heading() == "That did not work"
    assert visit.page.get_by_role("alert").all_inner_texts() == ["The server does not answer."]
    visit.page.unroute("**/api/**")
    visit.page.get_by_role("button", name="Try again").click()
    visit.page.get_by_role("heading", name="Queue", exact=True).wait_for()
    assert not notice.is_visible()
