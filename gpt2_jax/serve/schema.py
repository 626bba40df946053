"""What the API takes and gives; OpenAPI is made of this."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

MAX_TEXTS = 128  # of a request


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ClassifyRequest(_Strict):
    texts: list[str] = Field(min_length=1, max_length=MAX_TEXTS)


class Result(BaseModel):
    label: str = Field(description="the most probable one, or by a threshold")
    prob: float = Field(description="its probability")
    probs: dict[str, float] = Field(description="the probability of each label")
    n_tokens: int = Field(description="tokens of the whole text; 0: it is empty")
    truncated: bool = Field(description="whether it was cut to what the model reads")


class ClassifyResponse(BaseModel):
    results: list[Result] = Field(description="one for each text, in order")


class ExplainRequest(_Strict):
    text: str


class Word(BaseModel):
    start: int = Field(description="first code point of the word in the text")
    end: int = Field(description="the code point behind it")
    weight: float = Field(
        description="what it adds to the probability of the label; approximate"
    )


class ExplainResponse(BaseModel):
    label: str = Field(description="the label that is explained")
    prob: float
    words: list[Word]


class Problem(BaseModel):
    error: str = Field(description="what is wrong, in one line")


_PROBLEMS = {
    400: "not JSON, or not for this host",
    401: "the token is missing or wrong",
    403: "sent by a page of another origin",
    408: "the request came too slowly",
    413: "the body is too large",
    415: "the body is not application/json",
    422: "the JSON is not what is expected",
    429: "too many texts wait; see Retry-After",
    503: "not ready, or no answer in time; see Retry-After",
}


PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text}
    for status, text in _PROBLEMS.items()
}
