"""`sentinel policy test`: what it finds, what it prints, and how it ends. It needs no platform."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from functions.cli.main import app

QUOTA = {"name": "team-gpus", "rules": [{"type": "quota", "gpus": 16}]}
SUITE: dict[str, Any] = {
    "name": "gpus",
    "policies": [QUOTA],
    "plan": {"team": "search", "takes": {"gpus": 1}},
    "facts": {"usage": {"team": {"gpus": 15}}},
    "cases": [
        {"name": "the last one", "expect": {"decision": "approved"}},
        {"name": "one more", "plan": {"takes": {"gpus": 2}}, "expect": {"decision": "denied"}},
    ],
}
WARNED = {
    **SUITE,
    "policies": [{**QUOTA, "mode": "warn"}],
    "cases": [{**SUITE["cases"][1], "expect": {"decision": "approved"}}],
}


@dataclass(frozen=True)
class Ran:
    """How the command ended and what it said."""

    code: int
    out: str
    err: str


def run(*arguments: object, stdin: str | None = None) -> Ran:
    nowhere = {"DATABASE_URL": None, "K_SINK": None, "SENTINEL_STATE": None}
    result = CliRunner().invoke(app, ["policy", "test", *map(str, arguments)], input=stdin, env=nowhere)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return Ran(result.exit_code, result.stdout, result.stderr)


def written(directory: Path, document: object, name: str = "suite.yaml") -> Path:
    directory.mkdir(exist_ok=True, parents=True)
    path = directory / name
    path.write_text(json.dumps(document) if name.endswith("json") else yaml.safe_dump(document))
    return path


def without(document: dict[str, Any], case: dict[str, Any]) -> dict[str, Any]:
    """A suite with this case alone."""
    return {**document, "cases": [{"name": "a", **case}]}


def test_cases_that_pass_are_a_table(tmp_path: Path) -> None:
    ran = run(written(tmp_path, SUITE))
    assert (ran.code, ran.err) == (0, "")
    header, *lines = [line.split("  ") for line in ran.out.splitlines()]
    assert [cell.strip() for cell in header if cell] == ["SUITE", "CASE", "RESULT", "MS"]
    assert [[cell.strip() for cell in line if cell][:3] for line in lines] == [
        ["gpus", "the last one", "pass"],
        ["gpus", "one more", "pass"],
    ]


def test_a_case_that_fails_shows_what_was_expected_beside_what_was_observed(tmp_path: Path) -> None:
    expect = {
        "decision": "approved",
        "violations": [{"policy": "team-gpus", "limit": 8}],
        "warnings": ["none of these"],
        "dry_run": [{}],
        "determining": ["other"],
        "waits": False,
    }
    ran = run(written(tmp_path, without(SUITE, {"plan": {"takes": {"gpus": 2}}, "expect": expect})))
    assert (ran.code, ran.err) == (1, "sentinel: 1 of 1 case failed\n")
    lines = ran.out.splitlines()
    assert "FAIL" in lines[1]
    assert lines[3] == "gpus: a"
    found = "policy team-gpus, rule quota, field gpus, limit 16, observed 17"
    assert lines[4].split() == ["EXPECTED", "OBSERVED"]
    assert [line.split("  ", 1)[0] for line in lines[5:]] == [
        "decision", "", "violations", "dry_run", "warnings", "determining", "waits",
    ]  # fmt: skip
    assert lines[7].split()[1:5] == ["policy", "team-gpus,", "limit", "8"]
    assert found in lines[7]
    assert lines[8].split()[1:] == ["any", "none"]
    assert lines[9].split()[1:] == ["none", "of", "these", "none"]
    assert lines[10].split()[1:] == ["other", "team-gpus"]
    assert lines[11].split()[1:] == ["false", "true"]


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_results_for_programs(tmp_path: Path, form: str) -> None:
    ran = run(written(tmp_path, without(SUITE, {"expect": {"decision": "denied"}})), "-o", form)
    assert ran.code == 1
    [result] = yaml.safe_load(ran.out)
    assert result.pop("milliseconds") >= 0
    assert result == {
        "suite": "gpus",
        "case": "a",
        "passed": False,
        "decision": "approved",
        "warnings": [],
        "mismatches": [{"part": "decision", "expected": ["denied"], "observed": ["approved"]}],
    }


def test_warnings_that_nobody_expects_fail_where_that_is_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path, WARNED)
    assert run(path).code == 0
    ran = run(path, "--fail-on-warn")
    assert ran.code == 1
    assert "team-gpus: team search would hold 17 GPUs; its quota is 16" in ran.out
    expected = {"decision": "approved", "warnings": ["would hold 17 GPUs"]}
    assert (
        run(written(tmp_path, {**WARNED, "cases": [{**WARNED["cases"][0], "expect": expected}]}), "--fail-on-warn").code
        == 0
    )


def test_warnings_that_are_expected_must_come_and_be_all(tmp_path: Path) -> None:
    for warnings, code in ((["17"], 0), ([], 1), (["17", "18"], 1)):
        expect = {"decision": "approved", "warnings": warnings}
        assert run(written(tmp_path, {**WARNED, "cases": [{**WARNED["cases"][0], "expect": expect}]})).code == code


def test_every_violation_is_matched_by_another_one(tmp_path: Path) -> None:
    policies = [QUOTA, {**QUOTA, "name": "other"}]
    for violations, code in (
        ([{}, {}], 0),
        ([{}, {"policy": "other"}], 0),
        ([{"policy": "other"}, {"policy": "other"}], 1),
        ([{}], 1),
        ([{}, {}, {}], 1),
        ([{"limit": 16.0}, {"observed": "17"}], 0),
        ([{"limit": "sixteen"}, {}], 1),
        ([{"until": "2026-01-01T00:00:00Z"}, {}], 1),
    ):
        case = {"plan": {"takes": {"gpus": 2}}, "expect": {"decision": "denied", "violations": violations}}
        assert run(written(tmp_path, without({**SUITE, "policies": policies}, case))).code == code, violations


def test_a_directory_is_searched_and_policies_beside_suites_are_none(tmp_path: Path) -> None:
    written(tmp_path, SUITE)
    written(tmp_path / "a" / "b", {**SUITE, "name": "deep", "policies": [{"file": "../policy.yml"}]}, "suite.json")
    written(tmp_path / "a", QUOTA, "policy.yml")
    (tmp_path / "notes.txt").write_text("cases: none")
    ran = run(tmp_path, "-o", "json")
    assert ran.code == 0
    assert [(r["suite"], r["case"]) for r in json.loads(ran.out)] == [
        ("deep", "the last one"), ("deep", "one more"), ("gpus", "the last one"), ("gpus", "one more"),
    ]  # fmt: skip


def test_suites_come_from_stdin_and_several_from_one_file(tmp_path: Path) -> None:
    nameless = {key: value for key, value in SUITE.items() if key != "name"}
    ran = run("-", "-o", "json", stdin=yaml.safe_dump_all([SUITE, nameless]))
    assert [r["suite"] for r in json.loads(ran.out)] == ["gpus", "gpus", "stdin, document 2", "stdin, document 2"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cases": []}, "cases: Tuple should have at least 1 item"),
        ({"cases": None}, "cases: "),
        ({"cases": [{"name": "a"}]}, "cases.0.expect: Field required"),
        ({"cases": SUITE["cases"] * 2}, "data: two cases have the name 'the last one'"),
        ({"cases": [{"name": "a", "expect": {"decision": "maybe"}}]}, "cases.0.expect.decision: Input should be"),
        ({"cases": [{"name": "a", "expect": {"decision": "denied", "why": 1}}]}, "cases.0.expect.why: Extra inputs"),
        ({"cases": [{"name": "a", "plan": {"verb": "go"}, "expect": {"decision": "denied"}}]}, "cases.0.plan.verb: "),
        ({"policies": [{"name": "p", "rules": [{"type": "quota", "gpus": -1}]}]},
         "policies.0.policy.rules.0.quota.gpus: Input should be greater"),
        ({"policies": [{"file": ""}]}, "policies.0.file.file: String should have"),
        ({"policies": [{"file": "x", "name": "p"}]}, "policies.0.file.name: Extra inputs"),
        ({"policies": [{"unreadable": "X"}]}, "policies.0.unreadable.unreadable: must be a DNS-1123 label"),
        ({"policies": ["p"]}, "policies.0.policy: Input should be a valid dictionary"),
        ({"policies": [QUOTA, QUOTA]}, "policies: there are two policies with the name 'team-gpus'"),
        ({"now": "noon"}, "now: Input should be a valid datetime"),
        ({"now": "2026-01-01T00:00:00"}, "now: must have a time zone"),
        ({"plan": {"takes": {"memory": "8GB"}}}, "plan.takes.memory: '8GB' is not a Kubernetes quantity"),
        ({"facts": {"usage": {"plan": {"gpus": 1}}}}, "facts.usage.plan.[key]: must be workload, team, cluster or"),
        ({"facts": {"usage": {"team": {"gpus": -1}}}}, "facts.usage.team.gpus: Input should be greater"),
        ({"facts": {"actions": {"team": ["lately"]}}}, "facts.actions.team.0.at: must be a time with a time zone"),
        ({"facts": {"actions": {"team": [{"at": "2026-01-01T00:00:00"}]}}},
         "facts.actions.team.0.action.at: must be a time with a time zone"),
        ({"facts": {"service": {"an hour": {}}}}, "facts.service.an hour.[key]: 'an hour' is not a duration"),
        ({"facts": {"prices": {"priced_on": "today"}}}, "facts.prices.priced_on: Input should be a valid date"),
        ({"fact": {}}, "fact: Extra inputs are not permitted"),
    ],
)  # fmt: skip
def test_a_bad_suite_is_refused_with_the_path_of_the_field(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = written(tmp_path, {**SUITE, **change})
    ran = run(path)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"sentinel: {path}: {said}")


def test_every_bad_suite_is_named_and_no_case_is_run(tmp_path: Path) -> None:
    bad = [written(tmp_path, {**SUITE, "cases": []}, name) for name in ("a.yaml", "b.yaml")]
    ran = run(written(tmp_path, SUITE), *bad)
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (2, "", 2)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "no suite in it"),
        ({"policy.yaml": QUOTA}, "no suite in it"),
        ({"suite.yaml": {**SUITE, "policies": [{"file": "gone.yaml"}]}}, "gone.yaml: No such file or directory"),
        ({"suite.yaml": {**SUITE, "policies": [{"file": "bad.yml"}]}, "bad.yml": {"name": "p", "deny_unmatched": 3}},
         "bad.yml: deny_unmatched: Input should be a valid boolean"),
    ],
)  # fmt: skip
def test_a_directory_that_cannot_be_run(tmp_path: Path, files: dict[str, Any], said: str) -> None:
    for name, document in files.items():
        written(tmp_path, document, name)
    ran = run(tmp_path)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    ran = run(tmp_path / "gone.yaml")
    assert (ran.code, ran.err) == (2, f"sentinel: {tmp_path / 'gone.yaml'}: No such file or directory\n")


def test_overrides_are_a_merge_patch(tmp_path: Path) -> None:
    suite = {
        "policies": [
            {"name": "any", "rules": [{"type": "quota", "gpus": 4, "scope": scope} for scope in ("team", "cluster")]},
            {"name": "host", "rules": [{"type": "security"}]},
        ],
        "plan": {"takes": {"gpus": 1}, "labels": {"a": "b"}, "security": {"hostPID": True, "privileged": True}},
        "facts": {"usage": {"team": {"by_sku": {"L4": {"gpus": 3}, "H100": {"gpus": 1}}}, "cluster": {"gpus": 9}}},
        "cases": [
            {
                "name": "laid over",
                "plan": {"security": {"hostPID": False}, "labels": {"a": None}},
                "facts": {"usage": {"team": {"by_sku": {"H100": None}}, "cluster": None}},
                "expect": {
                    "decision": "denied",
                    "violations": [
                        {"field": "facts", "message": "the usage of cluster local is not known"},
                        {"field": "security.privileged"},
                    ],
                },
            }
        ],
    }
    ran = run(written(tmp_path, suite))
    assert ran.code == 0, ran.out
