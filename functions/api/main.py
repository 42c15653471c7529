"""The ASGI application of the api, on what this process's environment says."""

from functions import runtime
from functions.api.function import build

app = build(runtime.ports())
