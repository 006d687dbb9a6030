"""Whether a client is still there that something is made for."""

import asyncio
from typing import TypeVar

from fastapi import Request

from langsteer.serving.errors import RequestError

Result = TypeVar("Result")
GONE_AFTER = 0.5  # seconds between looks whether a client is still there


async def while_there(request: Request, task: "asyncio.Future[Result]") -> Result:
    """What a task gives; it is cancelled, and RequestError raised, where the client goes away."""
    try:
        while not task.done():
            await asyncio.wait([task], timeout=GONE_AFTER)
            if not task.done() and await request.is_disconnected():
                raise RequestError("the client has gone", 499)
        return task.result()
    finally:
        task.cancel()
