"""Models are built when they are first used, once, whichever thread comes first."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from events import CATALOGUE
from shared.models.fields import LazyModel, Wire
from tests.support.serving import ROOT


def subclasses(model: type[LazyModel]) -> set[type[LazyModel]]:
    found = {model}
    for each in model.__subclasses__():
        found |= subclasses(each)
    return found


DEFAULTS = {"BurnWindows", "ClusterSelector", "GpuRequest", "Resources", "Security", "Selector"}
"""Models of which an instance is the default of a field."""


def test_importing_the_functions_builds_none_but_defaults() -> None:
    code = (
        "import functions.workload_intake.function, functions.policy_evaluation.function\n"
        "from tests.shared.models.test_lazy_models import subclasses\n"
        "from shared.models.fields import LazyModel\n"
        "print(*(m.__name__ for m in subclasses(LazyModel) if m.__pydantic_complete__))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= DEFAULTS


def test_every_model_is_built_once_by_threads_that_all_come_at_once() -> None:
    for _ in range(20):

        class Inner(Wire):
            number: int

        class Outer(Wire):
            inner: Inner
            name: str

        def use(_: int, model: type[Outer] = Outer) -> str:
            return model.model_validate({"inner": {"number": 1}, "name": "x"}).model_dump_json()

        with ThreadPoolExecutor(8) as threads:
            assert set(threads.map(use, range(8))) == {'{"inner":{"number":1},"name":"x"}'}


def test_every_declared_example_fits_its_model() -> None:
    for declared in CATALOGUE:
        if not declared.raw:
            assert declared.data.model_validate(declared.example)
