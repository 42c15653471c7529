"""Logging in to the console, going on, logging out, and what each may see."""

import pytest

from shared.models.account import AccountKind
from shared.models.identity import Role, RoleBinding
from shared.operations.identity import accounts
from tests.functions.api.console.conftest import SECRET, VIEWS, Console
from tests.support.builders import TESTS, Deliver

pytestmark = pytest.mark.browser


def test_a_login_by_keyboard_goes_on_after_a_reload_and_ends_with_the_logout(console: Console) -> None:
    visit = console.visit()
    page = visit.page
    page.goto(f"{console.address}/#/queue")
    page.keyboard.type("root")  # the name has the focus
    page.keyboard.press("Tab")
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    page.get_by_role("alert").filter(has_text="the user or the password is wrong").wait_for()
    page.keyboard.type(SECRET)  # the wrong password is selected
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Queue", exact=True).wait_for()
    page.reload()
    page.get_by_role("heading", name="Queue", exact=True).wait_for()
    page.get_by_role("button", name="Log out").click()
    page.get_by_role("heading", name="Log in").wait_for()
    assert not page.get_by_role("navigation").is_visible()
    page.reload()
    page.get_by_role("heading", name="Log in").wait_for()
    visit.faultless()


def test_no_token_lies_where_a_script_can_read_it_later(console: Console) -> None:
    visit = console.visit()
    visit.log_in()
    stored = visit.page.evaluate(
        "[document.cookie, JSON.stringify({...localStorage}), JSON.stringify({...sessionStorage})]"
    )
    assert stored == ["", '{"sentinel-logged-in":"yes"}', "{}"]
    [cookie] = visit.page.context.cookies(f"{console.address}/api/v1/auth/refresh")
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/api/v1/auth")
    assert visit.page.context.cookies(f"{console.address}/api/v1/workloads") == []


def test_two_tabs_share_a_login(console: Console) -> None:
    first = console.visit()
    first.log_in()
    second = first.page.context.new_page()
    second.goto(f"{console.address}/#/cost")
    second.get_by_role("heading", name="Cost", exact=True).wait_for()
    first.page.reload()
    first.settled()
    assert first.heading() == "Overview"


def test_a_login_that_is_ended_elsewhere_shows_the_form_and_nothing_of_before(
    console: Console, deliver: Deliver
) -> None:
    deliver.submit("chat")
    console.add_user("ada", RoleBinding(Role.VIEWER, "search"))
    visit = console.visit()
    visit.log_in("ada")
    visit.page.get_by_role("link", name="chat").first.wait_for()
    with console.store.begin() as work:
        account = work.identity.account_named(AccountKind.USER, "ada")
        assert account is not None
        accounts.set_disabled(work, account, True, TESTS)
    visit.page.get_by_role("heading", name="Log in").wait_for()
    assert "Log in again" in visit.page.get_by_role("alert").inner_text()
    assert "chat" not in visit.page.locator("body").inner_text()


def test_one_sees_the_workloads_of_ones_teams_alone_and_asks_for_no_more(console: Console, deliver: Deliver) -> None:
    deliver.submit("chat")
    deliver.submit("copy", team="ads")
    console.add_user("ada", RoleBinding(Role.VIEWER, "search"))
    visit = console.visit()
    visit.log_in("ada")
    assert visit.page.locator("#who").inner_text() == "ada (viewer of search)"
    assert visit.page.locator("tbody th").all_inner_texts() == ["chat\nsearch"]
    assert visit.page.locator(".tile.busy .total").inner_text() == "1"
    for view in VIEWS:
        visit.show(view)
    visit.faultless()


def test_one_without_a_role_is_told_so_and_nothing_is_refused(console: Console) -> None:
    console.add_user("new")
    visit = console.visit()
    visit.log_in("new", "#/gpus")
    assert visit.heading() == "You have no role yet"
    assert not visit.page.get_by_role("navigation").is_visible()
    visit.faultless()
