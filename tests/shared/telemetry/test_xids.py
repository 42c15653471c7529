"""The XID catalogue: complete, in NVIDIA's words, and classified by the rule that it states."""

import pytest

from shared.models.telemetry import Blame
from shared.telemetry.xids import catalogue, lookup


def test_catalogue_has_each_code_in_use_once_in_order() -> None:
    codes = list(catalogue())
    assert codes == sorted(codes)
    assert len(codes) == 109
    assert all(1 <= code <= 172 for code in codes)


def test_every_entry_has_a_name_and_a_summary_in_words() -> None:
    for entry in catalogue().values():
        assert entry.mnemonic.isupper(), entry
        assert " " in entry.summary, entry
        assert not entry.summary.endswith("."), entry
        assert entry.known


@pytest.mark.parametrize("source", ["immediate_action", "investigatory_action", "conservative"])
def test_blame_follows_the_source_that_the_entry_names(source: str) -> None:
    entries = [entry for entry in catalogue().values() if entry.source == source]
    assert entries
    for entry in entries:
        match source, entry.immediate_action:
            case "investigatory_action", "IGNORE":
                assert (entry.investigatory_action, entry.blame) == ("CHECK_APP/CUDA", Blame.POD)
            case "conservative", None:
                assert entry.blame is Blame.GPU
            case "immediate_action", "RESTART_APP":
                assert entry.blame is Blame.POD, entry
            case "immediate_action", "IGNORE" | "XID_154":
                assert entry.blame is None, entry
            case "immediate_action", "RESTART_VM" | "UPDATE_SWFW":
                assert entry.blame is Blame.NODE, entry
            case "immediate_action", str():
                assert entry.blame is Blame.GPU, entry
            case _:
                pytest.fail(f"{entry} has no action that its source could be")


def test_entries_that_follow_what_nvidia_writes_rather_than_the_action() -> None:
    described = {
        entry.xid: entry.blame
        for entry in catalogue().values()
        if entry.source in ("trigger_conditions", "description")
    }
    assert described == {
        32: Blame.GPU,
        43: Blame.POD,
        45: Blame.POD,
        94: Blame.GPU,
        137: Blame.POD,
        162: None,
        163: None,
        164: None,
        165: None,
    }


@pytest.mark.parametrize("code", [13, 31, 43, 45, 68])
def test_application_errors_of_the_device_plugin_are_application_errors(code: int) -> None:
    assert lookup(code).blame is Blame.POD


@pytest.mark.parametrize("code", [48, 64, 74, 79, 94, 95, 109, 119, 140, 167, 171])
def test_hardware_errors_are_hardware(code: int) -> None:
    assert lookup(code).is_hardware


@pytest.mark.parametrize("code", [63, 92, 106, 121, 154, 162])
def test_notices_are_no_fault(code: int) -> None:
    assert lookup(code).blame is None
    assert str(lookup(code)).endswith("; notice")


def test_message_says_what_happened_what_to_do_and_whose_fault_it_is() -> None:
    assert str(lookup(79)) == (
        "XID 79: the GPU has fallen off the bus; NVIDIA says: RESTART_BM, then CONTACT_SUPPORT; hardware"
    )
    assert str(lookup(31)) == (
        "XID 31: a program accessed GPU memory that is not mapped; "
        "NVIDIA says: RESTART_APP, then WORKFLOW_XID_31; application"
    )
    assert "NVIDIA says: WORKFLOW_XID_48; hardware" in str(lookup(48)), "the same action twice is said once"
    assert str(lookup(167)).endswith("; NVIDIA names no action; hardware")


@pytest.mark.parametrize("code", [0, 1, 999, 65_535])
def test_unknown_code_is_taken_for_hardware_and_says_so(code: int) -> None:
    entry = lookup(code)
    assert not entry.known
    assert entry.blame is Blame.GPU
    assert str(entry) == f"XID {code}: not in NVIDIA's catalogue; treated as hardware"
