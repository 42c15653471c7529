"""`sentinel policy test`: suites of cases against policies, without any platform."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import typer
from pydantic import JsonValue, RootModel, ValidationError

from functions.cli.documents import STDIN, Document, read_models
from functions.cli.errors import BadInput, CommandFailed
from functions.cli.options import Format
from functions.cli.views.printing import Cell, Style, print_data, print_table
from shared.eventing.processing import describe
from shared.policy.cases import CaseOutcome, DuplicatePolicy, Mismatch, policies_of, run
from shared.policy.documents import PolicyDocument
from shared.policy.policy_set import PolicySet
from shared.policy.suites import Case, Suite

_SUFFIXES = (".yaml", ".yml", ".json")


@dataclass(frozen=True)
class PreparedSuite:
    """A suite that can be run, and what to call it."""

    label: str
    suite: Suite
    policies: PolicySet


@dataclass(frozen=True)
class Result:
    """What came of one case."""

    suite: str
    case: Case
    outcome: CaseOutcome
    mismatches: tuple[Mismatch, ...]
    milliseconds: float

    @property
    def passed(self) -> bool:
        return not self.mismatches


def run_suites(path: Sequence[str], fail_on_warn: bool, output: Format) -> None:
    """Prints what came of each case. Raises CommandFailed when one fails, and BadInput."""
    results = [result for prepared in load(path) for result in _results(prepared, fail_on_warn)]
    if output is Format.TABLE:
        _print(results)
    else:
        print_data([_view(result) for result in results], output)
    if failed := sum(not result.passed for result in results):
        raise CommandFailed(f"{failed} of {len(results)} {'case' if len(results) == 1 else 'cases'} failed")


def load(paths: Sequence[str]) -> list[PreparedSuite]:
    """The suites in files and directories, with the policies that they name. Raises BadInput that names all problems.

    A directory is searched recursively for YAML and JSON; policies that lie beside the suites are no suites.
    """
    prepared: list[PreparedSuite] = []
    problems: list[str] = []
    for document, directory in _documents(paths):
        try:
            prepared.append(_prepared(document, directory))
        except BadInput as error:
            problems.append(str(error))
    if problems:
        raise BadInput("\n".join(problems))
    return prepared


def _documents(paths: Sequence[str]) -> Iterator[tuple[Document, Path]]:
    """Every suite, and the directory that its policies are relative to."""
    for path in paths:
        if path != STDIN and Path(path).is_dir():
            files = sorted(file for file in Path(path).rglob("*") if file.suffix in _SUFFIXES and file.is_file())
            found = [(d, file.parent) for file in files for d in _read(str(file)) if not _is_policy(d.data)]
        else:
            found = [(document, Path(path).parent) for document in _read(path)]
        if not found:
            raise BadInput(f"{path}: no suite in it")
        yield from found


def _read(file: str) -> list[Document]:
    return [Document(where, document.root) for where, document in read_models([file], RootModel[Any])]


def _is_policy(data: object) -> bool:
    return isinstance(data, dict) and "cases" not in data and ("rules" in data or "deny_unmatched" in data)


def _prepared(document: Document, directory: Path) -> PreparedSuite:
    try:
        suite = Suite.model_validate(document.data)
    except ValidationError as error:
        raise BadInput(f"{document.where}: {describe(error)}") from None

    def from_file(file: str) -> Iterable[PolicyDocument]:
        return (policy for _, policy in read_models([str(directory / file)], PolicyDocument))

    try:
        return PreparedSuite(suite.name or document.where, suite, policies_of(suite, from_file))
    except DuplicatePolicy as error:
        raise BadInput(f"{document.where}: policies: {error}") from None


def _results(prepared: PreparedSuite, fail_on_warn: bool) -> Iterator[Result]:
    for case in prepared.suite.cases:
        started = time.perf_counter()
        outcome = run(prepared.suite, prepared.policies, case)
        milliseconds = (time.perf_counter() - started) * 1000
        mismatches = outcome.mismatches
        if fail_on_warn and outcome.unstated_warnings:
            mismatches += (Mismatch("warnings", (), outcome.unstated_warnings),)
        yield Result(prepared.label, case, outcome, mismatches, milliseconds)


def _print(results: Sequence[Result]) -> None:
    print_table(("SUITE", "CASE", "RESULT", "MS"), [_cells(result) for result in results])
    for result in results:
        if not result.passed:
            typer.echo(f"\n{result.suite}: {result.case.name}")
            rows = [row for mismatch in result.mismatches for row in _side_by_side(mismatch)]
            print_table(("", "EXPECTED", "OBSERVED"), rows)


def _cells(result: Result) -> tuple[Cell, ...]:
    verdict = ("pass", Style.GOOD) if result.passed else ("FAIL", Style.BAD)
    return (result.suite, result.case.name, verdict, f"{result.milliseconds:.2f}")


def _side_by_side(mismatch: Mismatch) -> Iterator[tuple[Cell, ...]]:
    lines = zip_longest(mismatch.expected or ("none",), mismatch.observed or ("none",), fillvalue="")
    for number, (expected, observed) in enumerate(lines):
        yield (mismatch.part if number == 0 else "", expected, (observed, Style.BAD))


def _view(result: Result) -> dict[str, JsonValue]:
    decision = result.outcome.decision
    return {
        "suite": result.suite,
        "case": result.case.name,
        "passed": result.passed,
        "milliseconds": round(result.milliseconds, 3),
        "decision": "approved" if decision.approved else "denied",
        "warnings": list(decision.warnings),
        "mismatches": [
            {"part": m.part, "expected": list(m.expected), "observed": list(m.observed)} for m in result.mismatches
        ],
    }
