"""What the agent of a GPU node imports: each import counts against its 60 MiB."""

import subprocess
import sys


def test_sending_an_event_needs_no_pydantic() -> None:
    code = (
        "import sys, agent.readings, shared.eventing.publishing, shared.telemetry.fields;"
        "sys.exit('pydantic' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
