"""Reading a trace: what a pod becomes, and that every mistake is named by line and column."""

from pathlib import Path

import pytest

from knative.local.tools.replay.trace import Node, Pod, TraceError, read_nodes, read_pods
from knative.local.tools.replay.workloads import node_object

HEADER = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time"
NODES = "sn,cpu_milli,memory_mib,gpu,model"


def write(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "trace.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_reads_pods_in_the_order_of_their_creation(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER, "b,4000,8192,8,1000,,LS,Running,20,30,20", "a,1000,0,0,0,,BE,Failed,5,,")
    assert read_pods(path) == [
        Pod("a", 1000, 0, 0, (), "BE", 5, None),
        Pod("b", 4000, 8192, 8, (), "LS", 20, 30),
    ]


@pytest.mark.parametrize(
    ("gpus", "milli", "whole"), [("1", "460", 1), ("0", "460", 1), ("0", "0", 0), ("2", "1000", 2)]
)
def test_a_share_of_a_gpu_is_a_whole_one(tmp_path: Path, gpus: str, milli: str, whole: int) -> None:
    [pod] = read_pods(write(tmp_path, HEADER, f"a,1000,1,{gpus},{milli},,LS,Running,0,1,0"))
    assert pod.gpus == whole


def test_reads_the_models_that_will_do(tmp_path: Path) -> None:
    [pod] = read_pods(write(tmp_path, HEADER, "a,1000,1,1,1000,V100M16|V100M32,LS,Running,0,1,0"))
    assert pod.models == ("V100M16", "V100M32")


def test_reads_no_more_than_the_limit(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER, *(f"p{n},1,1,0,0,,LS,Running,{n},9,0" for n in range(5)), "broken")
    assert [pod.name for pod in read_pods(path, limit=3)] == ["p0", "p1", "p2"]


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    path = write(tmp_path, "model,zone,gpu,memory_mib,cpu_milli,sn", "T4,x,2,1024,4000,node-1")
    assert read_nodes(path) == [Node("node-1", 4000, 1024, 2, "T4")]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([""], "line 1: there is no column name; needed are name, cpu_milli"),
        ([HEADER.replace("num_gpu", "gpus")], "line 1: there is no column num_gpu"),
        ([HEADER], "holds no pods, only a header"),
        (
            [HEADER, "a,1000,1,0,0,,LS,Running,0,1,0", "b,x,1,0,0,,LS,Running,0,1,0"],
            "line 3, column cpu_milli: 'x' must",
        ),
        ([HEADER, "a,1,1,-1,0,,LS,Running,0,1,0"], "line 2, column num_gpu: '-1' must be a whole number"),
        ([HEADER, "a,1,1,nan,0,,LS,Running,0,1,0"], "line 2, column num_gpu: 'nan' must be a whole number"),
        ([HEADER, "a,1,1,1.5,0,,LS,Running,0,1,0"], "line 2, column num_gpu: '1.5' must be a whole number"),
        ([HEADER, "a,1,1,9999999999999,0,,LS,Running,0,1,0"], "line 2, column num_gpu"),
        ([HEADER, "a,1,1,0,0,,LS,Running,5,1,0"], "line 2, column deletion_time: 1 is before the creation at 5"),
        ([HEADER, "a,1,1,0,0,,LS,Running,0,1,0"] * 1 + ["a,1,1,0,0,,LS,Running,0,1,0"], "'a' is in line 2 already"),
        ([HEADER, "A_b,1,1,0,0,,LS,Running,0,1,0"], "line 2, column name: 'A_b' must be a name of lower-case"),
        ([HEADER, "a,1,1,1,1000,T4|?!,LS,Running,0,1,0"], "line 2, column gpu_spec"),
        ([HEADER, "a,1,1,0,0,,,Running,0,1,0"], "line 2, column qos: '' must be a word"),
        ([HEADER, "a,1,1"], "line 2, column num_gpu: is missing; the line has 3 cells, and the header has 11"),
        ([HEADER, '"a,1,1'], "not CSV"),
    ],
)
def test_names_what_is_wrong_and_where(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(TraceError) as raised:
        read_pods(write(tmp_path, *lines))
    assert message in str(raised.value)
    assert str(tmp_path) in str(raised.value)


def test_a_file_that_is_not_there_or_not_text_is_an_error_of_the_same_kind(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="cannot be read: No such file"):
        read_pods(tmp_path / "missing.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xfe\x00")
    with pytest.raises(TraceError, match="line 1: byte 0 is not UTF-8; save it as CSV in UTF-8"):
        read_nodes(tmp_path / "binary.csv")


def test_a_node_without_gpus_has_no_model(tmp_path: Path) -> None:
    path = write(tmp_path, NODES, "node-1,96000,393216,0,", "node-2,96000,393216,0.0,", "node-3,1,1,8,T4")
    assert [(node.gpus, node.model) for node in read_nodes(path)] == [(0, ""), (0, ""), (8, "T4")]
    assert node_object(read_nodes(path)[0])["metadata"]["labels"] == {"kubernetes.io/hostname": "node-1"}
    with pytest.raises(TraceError, match="line 2, column model: '' must be a GPU model, such as T4; only a node"):
        read_nodes(write(tmp_path, NODES, "node-1,96000,393216,1,"))


def test_nodes_without_rows_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="holds no nodes"):
        read_nodes(write(tmp_path, NODES))
