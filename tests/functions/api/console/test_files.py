"""The files of the console over HTTP: what is served, under which rules a browser runs it, and nothing else."""

import re
from pathlib import Path

import pytest

import functions.api.console
from functions.api.routes import console
from tests.support.rest import Rest

DIRECTORY = Path(functions.api.console.__file__).parent
FILES = sorted(
    path.relative_to(DIRECTORY).as_posix() for path in DIRECTORY.rglob("*") if path.suffix in {".js", ".css", ".svg"}
)
LINK = re.compile(r"""(?:from|href=|src=)\s*["']([^"']+)["']""")


def directives(header: str) -> dict[str, str]:
    return {name: value for name, _, value in (one.partition(" ") for one in header.split("; "))}


def test_the_root_is_the_page_with_rules_that_let_nothing_run_but_its_own_files(rest: Rest) -> None:
    answer = rest("GET", "//", user=None)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = directives(answer.headers["content-security-policy"])
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == policy["img-src"] == "'self'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"


def test_every_file_is_served_with_its_type_and_under_the_same_rules(rest: Rest) -> None:
    types = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    page = rest("GET", "//", user=None)
    for name in FILES:
        answer = rest("GET", f"//console/{name}", user=None)
        assert (answer.status, answer.body) == (200, (DIRECTORY / name).read_bytes())
        assert answer.headers["content-type"].partition(";")[0] == types[Path(name).suffix]
        assert answer.headers["content-security-policy"] == page.headers["content-security-policy"]


def test_what_the_files_refer_to_is_among_them() -> None:
    for name in ("index.html", *FILES):
        for found in LINK.findall((DIRECTORY / name).read_text()):
            if not found.startswith(("#", "http://www.w3.org/")):
                base = DIRECTORY if found.startswith("/console/") else (DIRECTORY / name).parent
                assert (base / found.removeprefix("/console/")).resolve().is_file(), f"{name} refers to {found}"


def test_no_file_makes_markup_of_text_or_has_a_script_or_style_inline() -> None:
    forbidden = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\(|new Function|srcdoc"
    )
    for name in FILES:
        assert forbidden.search((DIRECTORY / name).read_text()) is None, name
    page = (DIRECTORY / "index.html").read_text()
    assert re.search(r"<style|style=|\son\w+=|<script(?![^>]*src=)", page) is None


def test_a_file_is_sent_again_when_it_has_changed_and_not_before(rest: Rest) -> None:
    first = rest("GET", "//console/app.js", user=None)
    assert first.headers["cache-control"] == "no-cache"
    again = rest("GET", "//console/app.js", user=None, if_none_match=first.headers["etag"])
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert rest("GET", "//console/app.js", user=None, if_none_match='"another"').status == 200
    assert rest("GET", "//console/dom.js", user=None).headers["etag"] != first.headers["etag"]


def test_head_answers_as_get_does_without_the_body(rest: Rest) -> None:
    for path in ("//", "//console/app.js"):
        asked, told = rest("GET", path, user=None), rest("HEAD", path, user=None)
        assert (told.status, told.body) == (200, b"")
        assert told.headers["etag"] == asked.headers["etag"]
        assert told.headers["content-length"] == str(len(asked.body))


@pytest.mark.parametrize(
    "path",
    [
        "none.js",
        "",
        "__init__.py",
        "../app.py",
        "..%2fapp.py",
        "%2e%2e/%2e%2e/%2e%2e/shared/settings.py",
        "views/../../app.py",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "app.js%00",
        "..\\app.py",
        "views",
    ],
)
def test_no_path_leads_out_of_the_console(path: str, rest: Rest) -> None:
    answer = rest("GET", f"//console/{path}", user=None)
    assert (answer.status, answer.headers["content-type"]) == (404, "application/problem+json")


def test_the_files_lie_in_the_package_that_images_are_built_from() -> None:
    assert {"index.html", *FILES} == set(console.assets())
