"""What can be set, from the environment: `APP_MODEL=Qwen/Qwen3-0.6B APP_API_KEY=secret miniasgi ...`."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Times are in seconds."""

    model_config = SettingsConfigDict(env_prefix="APP_")

    model: str = str(Path(__file__).with_name("miniasgi-1m"))
    """A directory, or an id on Hugging Face, of a causal language model with a chat template."""
    device: Literal["auto", "cuda", "mps", "cpu"] = "auto"
    threads: int = Field(default=1, ge=1)
    """Of PyTorch, on a CPU: more than there are idle cores makes everything many times slower."""
    max_requests: int = Field(default=64, ge=1)
    """At one time; more get a 503 before any work is done for them."""
    max_tokens: int = Field(default=256, ge=1)
    """Of an answer, when the request does not say."""
    request_timeout: float = Field(default=120.0, gt=0)
    api_key: SecretStr | None = None
    """What clients have to send as `Authorization: Bearer KEY`, if set."""
