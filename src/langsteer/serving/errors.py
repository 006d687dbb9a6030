"""What a request is refused with, in OpenAI's form."""

import json
import sys
from typing import Any

from langsteer.errors import LangsteerError

HALF = "the text is not Unicode: it holds half a character"


class RequestError(LangsteerError):
    """A request that is refused, with its HTTP status; `code` and `param` as OpenAI has them.

    Where it may be tried again, `after` says in how many seconds.
    """

    def __init__(
        self,
        message: str,
        status: int = 400,
        code: str | None = None,
        param: str | None = None,
        after: int = 1,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.param, self.after = status, code, param, after

    @property
    def headers(self) -> dict[str, str]:
        """What goes with the status: when to try again, or how to say who one is."""
        if self.status in (429, 503):
            return {"Retry-After": str(self.after)}
        return {"WWW-Authenticate": "Bearer"} if self.status == 401 else {}

    def body(self) -> dict[str, Any]:
        return {
            "error": {
                "message": str(self).encode("utf-8", "replace").decode(),
                "type": _kind(self.status),
                "param": self.param,
                "code": self.code,
            }
        }


def as_refusal(error: BaseException) -> RequestError:
    """What a client is told where something failed: of what it cannot mend, no more than that."""
    return error if isinstance(error, RequestError) else RequestError("the model failed", 500)


def why_unread(error: Exception) -> str:
    """What is wrong with a body that Python's `json` could not read."""
    if isinstance(error, json.JSONDecodeError):
        return f"the body is not JSON: {error.msg}, at character {error.pos}"
    if isinstance(error, UnicodeDecodeError):
        return f"the body is not {error.encoding.upper()}: {error.reason}, at byte {error.start}"
    if isinstance(error, RecursionError):
        return "the body is nested too deeply"
    most = sys.get_int_max_str_digits()
    return f"the body has a number of more than {most} digits"


def _kind(status: int) -> str:
    named = {401: "authentication_error", 429: "rate_limit_error"}
    return named.get(status, "server_error" if status >= 500 else "invalid_request_error")
