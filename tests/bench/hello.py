"""The peer of the cold starts: the least that functions-framework can serve asynchronously."""

import functions_framework.aio
from starlette.requests import Request


@functions_framework.aio.http
async def hello(_: Request) -> str:
    return "hello\n"
