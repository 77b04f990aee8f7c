"""OpenAI's wire format, as far as we serve it. Whatever else a client asks for is an error, not a surprise.

Strict: "5" is not 5, and a field that is not here is a typo. Not served: tool calls, log
probabilities, pictures, several answers at once. vLLM (https://docs.vllm.ai) has all that, on the same wire.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Message(Strict):
    role: Literal["system", "user", "assistant"]
    content: Annotated[str, Field(min_length=1)]


class StreamOptions(Strict):
    include_usage: bool = False


Stop = Annotated[str, Field(min_length=1, max_length=100)]


class ChatRequest(Strict):
    """https://platform.openai.com/docs/api-reference/chat/create"""

    model: str
    messages: Annotated[list[Message], Field(min_length=1)]
    stream: bool = False
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    n: Literal[1] = 1
    user: str | None = None

    @property
    def stops(self) -> list[str]:
        return [self.stop] if isinstance(self.stop, str) else self.stop or []


class EmbeddingRequest(Strict):
    """https://platform.openai.com/docs/api-reference/embeddings/create"""

    model: str
    input: (
        Annotated[str, Field(min_length=1)]
        | Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1, max_length=256)]
    )
    encoding_format: Literal["float", "base64"] = "float"
    user: str | None = None


class Say(Strict):
    """On the WebSocket: the user's next message. It ends the answer that is still running."""

    type: Literal["message"]
    content: Annotated[str, Field(min_length=1)]
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0


class Hush(Strict):
    """On the WebSocket: end of the answer, please."""

    type: Literal["stop"]


TURN: TypeAdapter[Say | Hush] = TypeAdapter(Annotated[Say | Hush, Field(discriminator="type")])
