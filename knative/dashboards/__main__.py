"""`python -m knative.dashboards [DIRECTORY]`: writes the JSON that Grafana reads, by default beside panels.yaml."""

import sys
from pathlib import Path

from knative.dashboards import DIRECTORY, write

for file in write(Path(sys.argv[1]) if len(sys.argv) > 1 else DIRECTORY):
    print(file)
