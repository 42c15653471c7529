"""The console in headless Chromium, on the API in a thread, with real logins."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from functions.api.identity import Identity
from functions.api.routes import stream
from shared.models.account import AccountKind
from shared.models.identity import Role, RoleBinding
from shared.operations.identity import accounts
from shared.store.unit_of_work import Store
from tests.functions.telemetry_ingestion.conftest import Telemetry
from tests.support.builders import TESTS
from tests.support.chain import Chain
from tests.support.rest import Rest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Dialog, Page, Request, Response

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SECRET = "correct horse battery"
VIEWS = ("#/", "#/queue", "#/gpus", "#/cost", "#/simulate")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium as the system has installed it."""
    from playwright.sync_api import sync_playwright

    found = next((path for path in map(shutil.which, BROWSERS) if path is not None), None)
    if found is None:
        pytest.fail(f"these tests need one of {', '.join(BROWSERS)} on the PATH; Debian's package is chromium")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=arguments)
        yield opened
        opened.close()


@dataclass
class Visit:
    """One page of a visitor. It notes what must not happen: dialogs, errors, refused requests, other hosts."""

    page: Page
    address: str
    dialogs: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(10_000)
        self.page.on("dialog", self._asked_in_a_dialog)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", self._asked)
        self.page.on("response", self._answered)

    def _asked_in_a_dialog(self, dialog: Dialog) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def _asked(self, request: Request) -> None:
        url = urlsplit(request.url)
        if f"{url.scheme}://{url.netloc}" != self.address:
            self.elsewhere.append(request.url)

    def _answered(self, response: Response) -> None:
        if response.status == 403:
            self.refused.append(response.url)

    def show(self, view: str = "#/") -> None:
        """Goes to a view and waits until it is there."""
        self.page.goto(f"{self.address}/{view}")
        self.settled()

    def settled(self) -> None:
        self.page.wait_for_selector("main:not([aria-busy]) h1")

    def log_in(self, name: str = "root", view: str = "#/") -> None:
        self.page.goto(f"{self.address}/{view}")
        self.page.get_by_label("Name").fill(name)
        self.page.get_by_label("Password").fill(SECRET)
        self.page.get_by_role("button", name="Log in").click()
        self.page.wait_for_selector("#session:not([hidden])")
        self.settled()

    def heading(self) -> str:
        return self.page.locator("h1").inner_text()

    def row(self, caption: str, text: str) -> list[str]:
        """The cells of the row of a table that begins with a text."""
        table = self.page.get_by_role("table", name=caption, exact=True)
        found = table.get_by_role("row").filter(has=self.page.get_by_role("rowheader").filter(has_text=text)).first
        return [one.strip() for one in found.locator("th, td").all_inner_texts()]

    def faultless(self) -> None:
        assert (self.dialogs, self.errors, self.refused, self.elsewhere) == ([], [], [], [])


@dataclass
class Console:
    """Opens pages. Each has cookies of its own, unless it shares those of another."""

    browser: Browser
    address: str
    store: Store
    identity: Identity
    contexts: list[BrowserContext] = field(default_factory=list)

    def add_user(self, name: str, *bindings: RoleBinding) -> None:
        with self.store.begin() as work:
            account = accounts.create(work, AccountKind.USER, name, self.identity.passwords.hash(SECRET), TESTS)
            for binding in bindings:
                account = accounts.bind(work, account, binding, TESTS)

    def visit(self, width: int = 1280, **options: Any) -> Visit:
        context = self.browser.new_context(viewport={"width": width, "height": 844}, locale="en-GB", **options)
        self.contexts.append(context)
        return Visit(context.new_page(), self.address)


@pytest.fixture
def console(
    browser: Browser, signed_in: Rest, store: Store, identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Console]:
    """The console, which the admin `root` can log in to."""
    monkeypatch.setattr(stream, "LOOK_SECONDS", 0.05)
    found = Console(browser, f"http://127.0.0.1:{signed_in.port}", store, identity)
    found.add_user("root", RoleBinding(Role.ADMIN))
    yield found
    for context in found.contexts:
        context.close()


@pytest.fixture
def telemetry(store: Store, chain: Chain) -> Telemetry:
    with store.begin() as work:
        return Telemetry(store, chain.deliver, work.now)
