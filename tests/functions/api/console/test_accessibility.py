"""The console for all: by keyboard, for a screen reader, in light and dark, wide and narrow, without motion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import functions.api.console
from tests.functions.api.console.conftest import VIEWS, Console, Visit
from tests.functions.telemetry_ingestion.conftest import Telemetry, gpu
from tests.support.builders import id_of

pytestmark = pytest.mark.browser

LIGHT_AND_DARK = ("light", "dark")

STRUCTURE = """() => {
    const all = (selector) => [...document.querySelectorAll(selector)];
    const shown = (one) => one.checkVisibility();
    const levels = all("h1, h2, h3, h4").filter(shown).map((one) => Number(one.tagName[1]));
    const named = (one) => one.labels?.length || one.getAttribute("aria-label") || one.getAttribute("aria-labelledby");
    const faults = [];
    if (levels.filter((level) => level === 1).length !== 1 || levels[0] !== 1) faults.push(`headings ${levels}`);
    levels.forEach((level, at) => at && level > levels[at - 1] + 1 && faults.push(`a heading is skipped: ${levels}`));
    for (const name of ["header", "nav", "main"]) if (all(name).length !== 1) faults.push(`landmark ${name}`);
    if (!all("nav")[0].getAttribute("aria-label")) faults.push("nav has no name");
    for (const one of all("input, select, textarea, meter")) if (!named(one)) faults.push(`no label: ${one.outerHTML}`);
    for (const one of all("th")) if (!one.scope) faults.push(`no scope: ${one.outerHTML}`);
    for (const one of all("table")) if (!one.caption?.textContent) faults.push("a table has no caption");
    for (const one of all("[role=img], section, [role=region]")) {
        const by = one.getAttribute("aria-labelledby");
        const name = one.getAttribute("aria-label") ?? (by && document.getElementById(by)?.textContent);
        if (!name) faults.push(`no name: ${one.outerHTML.slice(0, 80)}`);
    }
    for (const one of all("[tabindex]")) if (one.tabIndex > 0) faults.push("a tabindex makes an order of its own");
    for (const one of all("a, button, summary")) if (!one.textContent.trim()) faults.push(`empty: ${one.outerHTML}`);
    const ids = all("[id]").map((one) => one.id);
    if (new Set(ids).size !== ids.length) faults.push(`an id comes twice: ${ids}`);
    return faults;
}"""

PALE = """() => {
    const parse = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
    const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    const luminance = ([r, g, b]) => {
        const [x, y, z] = [r, g, b].map((one) => linear(one / 255));
        return 0.2126 * x + 0.7152 * y + 0.0722 * z;
    };
    const behind = (one) => {
        for (; one; one = one.parentElement) {
            const color = parse(getComputedStyle(one).backgroundColor);
            if (color.length === 3 || color[3] === 1) return color;
        }
        return [255, 255, 255];
    };
    const found = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const one = walker.currentNode.parentElement;
        if (!walker.currentNode.textContent.trim() || !one.checkVisibility()) continue;
        const style = getComputedStyle(one);
        if (one.closest("script, noscript, option, .visually-hidden, button:disabled")) continue;
        const color = parse(one instanceof SVGElement ? style.fill : style.color);
        const [a, b] = [luminance(color), luminance(behind(one))].sort((x, y) => y - x);
        const ratio = (a + 0.05) / (b + 0.05);
        if (ratio < 4.5) found.push(`${ratio.toFixed(2)} ${one.tagName} ${walker.currentNode.textContent}`);
    }
    return found;
}"""


@pytest.fixture
def views(telemetry: Telemetry, console: Console) -> tuple[str, ...]:
    """The address of every view, with something in each."""
    for name in ("chat", "rank", "a-workload-with-a-name-that-is-as-long-as-the-name-of-one-may-be"[:63]):
        telemetry.deliver.decide(name)
    telemetry.deliver.submit("copy", team="ads")
    metrics = ({"utilization_percent": used} for used in (0.0, 30.0, 60.0, 95.0))
    pods = [{"namespace": "search", "pod": "p", "container": "c"}]
    gpus = [gpu(number, metrics=one, containers=pods) for number, one in enumerate(metrics)]
    telemetry.send(*gpus, gpu(4, metrics={}), gpu(5, state="lost"))
    with console.store.begin() as work:
        work.nodes.keep("local", {"gpu-0": {"H100": 8}, "gpu-1": {"L4": 2}})
    return (*VIEWS, f"#/workloads/{id_of('chat')}")


def looked_at(visit: Visit, view: str) -> None:
    visit.show(view)
    for summary in visit.page.locator("summary").all():
        summary.click()


def test_every_view_has_landmarks_headings_names_and_scopes(console: Console, views: tuple[str, ...]) -> None:
    visit = console.visit()
    visit.page.goto(console.address)
    assert visit.page.evaluate(STRUCTURE.replace('"header", "nav", "main"', '"header", "main"')) == []
    visit.log_in()
    for view in views:
        looked_at(visit, view)
        assert visit.page.evaluate(STRUCTURE) == [], view
    visit.show("#/workloads/4e7b3e0a-0000-4000-8000-000000000000")
    assert (visit.heading(), visit.page.evaluate(STRUCTURE)) == ("Not found", [])


@pytest.mark.parametrize("scheme", LIGHT_AND_DARK)
def test_all_text_has_contrast(scheme: Any, console: Console, views: tuple[str, ...]) -> None:
    visit = console.visit(color_scheme=scheme)
    visit.page.goto(console.address)
    assert visit.page.evaluate(PALE) == []
    visit.log_in()
    for view in views:
        looked_at(visit, view)
        assert visit.page.evaluate(PALE) == [], view


@pytest.mark.parametrize("width", [1280, 390])
def test_no_view_scrolls_sideways(width: int, console: Console, views: tuple[str, ...]) -> None:
    visit = console.visit(width)
    visit.log_in()
    for view in views:
        looked_at(visit, view)
        sizes = visit.page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert sizes == [width, width], view
    # A table on a narrow screen is laid out as blocks, and is a table still.
    visit.show("#/")
    assert visit.page.get_by_role("table", name="Workloads", exact=True).get_by_role("columnheader").count() == 7
    assert visit.row("Workloads", "chat")[1].endswith("approved")


def test_a_keyboard_reaches_everything_in_order_and_shows_where_it_is(console: Console, views: tuple[str, ...]) -> None:
    from playwright.sync_api import expect

    visit = console.visit()
    visit.log_in()
    page = visit.page
    page.reload()
    visit.settled()
    assert page.evaluate("document.activeElement === document.body")
    focused = """() => {
        const one = document.activeElement;
        const style = getComputedStyle(one);
        return [one.textContent.trim().slice(0, 30) || one.id, style.outlineStyle, parseFloat(style.outlineWidth)];
    }"""
    reached = []
    for _ in range(11):
        page.keyboard.press("Tab")
        text, style, outline = page.evaluate(focused)
        assert (style, outline >= 2) == ("solid", True), text
        reached.append(text)
    assert reached[:7] == ["Skip to content", "Overview", "Queue", "GPUs", "Cost", "Simulate", "Log out"]
    page.evaluate("document.activeElement.blur()")
    page.locator(".skip").focus()
    assert page.locator(".skip").bounding_box()["y"] >= 0  # type: ignore[index]
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.locator("nav a", has_text="GPUs").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="GPUs", exact=True)).to_be_focused()
    assert page.locator("nav a[aria-current=page]").inner_text() == "GPUs"
    assert page.title() == "GPUs – Sentinel"
    page.get_by_text("Numbers").first.focus()
    page.keyboard.press("Enter")
    assert page.get_by_role("table", name="GPUs of local/gpu-0").is_visible()
    page.locator("nav a", has_text="Simulate").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Simulate", exact=True)).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.locator("#result h2").wait_for()
    visit.faultless()


def test_the_cells_of_gpus_say_in_words_what_their_colours_say(console: Console, views: tuple[str, ...]) -> None:
    visit = console.visit()
    visit.log_in(view="#/gpus")
    node = visit.page.get_by_role("list", name="GPUs of gpu-0")
    shown = [one.split("\n") for one in node.get_by_role("listitem").all_inner_texts()]
    assert [one[0] for one in shown] == ["0%", "30%", "60%", "95%", "0", "✕", "?", "?"]
    assert [one[1] for one in shown[:2]] == [
        "GPU 0: 0% used, allocated to a workload",
        "GPU 1: 30% used, allocated to a workload",
    ]
    assert shown[-1][1] == "a GPU without a reading"
    names = visit.page.evaluate("[...document.querySelectorAll('.gpus .gpu')].map((one) => one.className)")
    assert names[:7] == [f"gpu {kind}" for kind in ("idle", "low", "middle", "high", "free", "fault", "unknown")]


def test_nothing_moves_for_those_who_want_no_motion(console: Console) -> None:
    visit = console.visit(reduced_motion="reduce")
    visit.log_in()
    moving = """() => [...document.querySelectorAll("*")].filter((one) => {
        const style = getComputedStyle(one);
        return parseFloat(style.transitionDuration) > 0 || style.animationName !== "none";
    }).length"""
    assert visit.page.evaluate(moving) == 0
    assert "scroll-behavior" not in (Path(functions.api.console.__file__).parent / "style.css").read_text()
