"""What the agent of a GPU node imports: each import counts against its 60 MiB."""

import subprocess
import sys

PARTS = (
    "agent.__main__",
    "agent.events",
    "agent.exporter",
    "agent.faults.monitor",
    "agent.metrics",
    "agent.nvml.source",
    "agent.podresources.client",
    "agent.publishing.kafka",
    "agent.publishing.publisher",
    "shared.eventing.publishing",
)
"""Everything but the script that stands in for GPUs."""


def test_an_agent_without_a_script_needs_no_pydantic() -> None:
    code = f"import sys, {', '.join(PARTS)}; sys.exit('pydantic' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
