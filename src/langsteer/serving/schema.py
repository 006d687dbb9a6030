"""What requests may hold: OpenAI's fields that are understood.

Of those that are not supported, the value that asks for nothing (`Neutral`) is taken, as some clients send every
field; any other value, and a field that there is not, is refused.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from langsteer.serving.asked import MOST
from langsteer.states.intervention import POSITIONS

INT64 = 2**63 - 1
MOST_CHOICES = 128
NEUTRAL = "Not supported: only the value that asks for nothing."
Neutral = Field(default=None, description=NEUTRAL)
Zero = Annotated[float | None, Field(ge=0, le=0)]
Empty = Annotated[list[Any] | None, Field(max_length=0)]
NoMap = Annotated[dict[str, Any] | None, Field(max_length=0)]


def _no_tokens(prompt: Any) -> Any:
    """A prompt as it is. Raises ValueError for tokens by their ids, of one prompt or of several."""
    first = prompt[0] if isinstance(prompt, list) and prompt else None
    if isinstance(first, int | list):
        raise ValueError("token ids are not supported: send a text, or a list of texts")
    return prompt


Prompts = Annotated[str | list[str], BeforeValidator(_no_tokens)]

STEERING: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "description": "auto, or a language"},
        {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "language": {"type": ["string", "null"]},
                "strength": {"type": ["number", "null"], "minimum": -MOST, "maximum": MOST},
                "positions": {"enum": [*POSITIONS, None]},
                "layer": {"type": ["integer", "null"], "minimum": 0},
            },
        },
        {"type": "null"},
    ]
}
STOP: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "minLength": 1},
        {"type": "array", "maxItems": 4, "items": {"type": "string", "minLength": 1}},
        {"type": "null"},
    ]
}


class Refusal(BaseModel):
    """Why a request was refused, in OpenAI's form."""

    message: str
    type: str
    param: str | None
    code: str | None


class Refused(BaseModel):
    error: Refusal


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")
    include_usage: bool = False
    include_obfuscation: Literal[False] | None = Neutral


class TextFormat(BaseModel):
    model_config = ConfigDict(extra="forbid")
    type: Literal["text"]


class Asking(BaseModel):
    """Which model a request asks, and how it is to be steered."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    model: str
    steering: Any = Field(
        default="auto",
        description="auto, a language, {language, strength, positions, layer}, or null.",
        json_schema_extra=lambda schema: schema.update(STEERING),
    )
    user: str | None = None


class _Nothing(Asking):
    """OpenAI's fields that are not supported, of completions and of chats: clients that send every
    field send them to both.
    """

    audio: None = Neutral
    best_of: Annotated[int | None, Field(ge=1, le=1)] = Neutral
    echo: Literal[False] | None = Neutral
    frequency_penalty: Zero = Neutral
    function_call: Literal["none", "auto"] | None = Neutral
    functions: Empty = Neutral
    logit_bias: NoMap = Neutral
    metadata: NoMap = Neutral
    modalities: Annotated[list[Literal["text"]] | None, Field(max_length=1)] = Neutral
    moderation: None = Neutral
    parallel_tool_calls: bool | None = Neutral  # of no tools
    prediction: None = Neutral
    presence_penalty: Zero = Neutral
    reasoning_effort: Literal["none"] | None = Neutral
    response_format: TextFormat | None = Neutral
    service_tier: Literal["auto", "default"] | None = Neutral
    store: Literal[False] | None = Neutral
    suffix: Literal[""] | None = Neutral
    tool_choice: Literal["none", "auto"] | None = Neutral
    tools: Empty = Neutral
    verbosity: Literal["medium"] | None = Neutral
    web_search_options: None = Neutral


class _Request(_Nothing):
    n: int | None = Field(default=1, ge=1, le=128)
    stop: str | list[str] | None = Field(
        default=None, json_schema_extra=lambda schema: schema.update(STOP)
    )
    seed: int | None = Field(default=None, ge=-INT64, le=INT64 - 1024)
    temperature: float | None = Field(default=1.0, ge=0, le=2)
    top_p: float | None = Field(default=1.0, gt=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1, le=INT64)
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None

    @field_validator("stop")
    @classmethod
    def _stops(cls, stop: str | list[str] | None) -> str | list[str] | None:
        if any(not text for text in stops(stop)) or len(stops(stop)) > 4:
            raise ValueError("up to four texts, none of them empty")
        return stop


class CompletionRequest(_Request):
    prompt: Prompts
    logprobs: int | None = Field(default=None, ge=0, le=20)


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")
    type: Literal["text"]
    text: str


class Message(BaseModel):
    model_config = ConfigDict(extra="forbid")
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part]
    name: str | None = None
    annotations: Empty = Neutral
    audio: None = Neutral
    function_call: None = Neutral
    refusal: None = Neutral
    tool_calls: Empty = Neutral

    def turn(self) -> dict[str, str]:
        """As chat templates take it."""
        content = self.content
        text = content if isinstance(content, str) else "".join(part.text for part in content)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class ChatRequest(_Request):
    messages: list[Message] = Field(min_length=1)
    logprobs: bool | None = False
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=INT64)


class ChoicesRequest(Asking):
    """Prompts, or a chat, and the choices that are scored after each."""

    prompt: Prompts | None = None
    messages: list[Message] | None = Field(default=None, min_length=1)
    before: str = Field(default="", description="Before each prompt; not text in its language.")
    after: str = Field(default="", description="After each prompt, as `before`.")
    choices: list[str] = Field(min_length=2, max_length=MOST_CHOICES)
    calibration: Literal["auto", "priors", "prompts"] | None = Field(
        default="auto",
        description="By the server's priors, the prompts themselves, whichever can be; or null.",
    )


class Steering(BaseModel):
    """What a prompt was steered with, and what was heard in it."""

    requested: str | None
    vector: str | None
    strength: float | None
    positions: str | None
    layers: list[int] | None
    language: str | None
    confidence: float | None


class Chosen(BaseModel):
    """The choice after one prompt; lists are in the order of the request's choices. `logprobs` are
    nats, uncalibrated; `prior` says whose mean was taken off them for the probabilities.
    """

    index: int
    choice: str
    choice_index: int
    probabilities: list[float]
    logprobs: list[float]
    prior: str | None
    steering: Steering


class Calibration(BaseModel):
    """What calibrated the choices, and of how many texts it was learned."""

    by: Literal["priors", "prompts"]
    texts: int


class ChoicesUsage(BaseModel):
    prompt_tokens: int
    choice_tokens: int
    total_tokens: int


class ChoicesReply(BaseModel):
    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[Chosen]
    calibration: Calibration | None
    usage: ChoicesUsage


def stops(stop: str | list[str] | None) -> tuple[str, ...]:
    return () if stop is None else (stop,) if isinstance(stop, str) else tuple(stop)


def is_neutral(field: str) -> bool:
    """Whether a field of a request is one that is not supported."""
    return field in _Nothing.model_fields and _Nothing.model_fields[field].description == NEUTRAL
