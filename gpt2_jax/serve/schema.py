"""What the API takes and gives; OpenAPI is made of this."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


AbstainBelow = Annotated[
    float,
    Field(
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="give no label where its probability is below this",
    ),
]


class ClassifyRequest(_Strict):
    texts: list[str] = Field(min_length=1)
    abstain_below: AbstainBelow = 0.0


def classify_request(max_texts: int) -> type[ClassifyRequest]:
    """Return the request of at most `max_texts` texts, which OpenAPI then tells."""
    texts = Field(min_length=1, max_length=max_texts)
    return create_model(
        "ClassifyRequest", __base__=ClassifyRequest, texts=(list[str], texts)
    )


class _Query(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Threshold(BaseModel):
    label: str
    value: float = Field(description="the label is given from this probability on")


class Result(BaseModel):
    label: str | None = Field(
        description="the most probable one, or by the threshold; null: abstained"
    )
    prob: float = Field(description="its probability, also where it was not given")
    probs: dict[str, float] = Field(description="the probability of each label")
    n_tokens: int = Field(description="tokens of the whole text; 0: it is empty")
    truncated: bool = Field(description="whether it was cut to what the model reads")


class ClassifyResponse(BaseModel):
    threshold: Threshold | None = Field(description="that decides; null: none is set")
    results: list[Result] = Field(description="one for each text, in order")


class ExplainRequest(_Strict):
    text: str


class TableQuery(_Query):
    name: str = Field(
        "texts.txt", max_length=200, description="of the file; its suffix tells a form"
    )
    format: Literal["jsonl", "csv", "columns"] = Field(
        "jsonl", description="of the answer; columns: only what the file has"
    )
    abstain_below: AbstainBelow = 0.0
    text_column: list[str] = Field([], max_length=20)
    join: str | None = Field(None, description="between several text columns")
    delimiter: str | None = None
    quote: str | None = None
    header: bool | None = None
    encoding: str = "utf-8"
    encoding_errors: str = "strict"


class Columns(BaseModel):
    columns: list[str]
    text_columns: list[str] = Field(description="that would be read; may be none")


class TableLine(Result):
    row: dict[str, Any] = Field(description="the row as it was sent")
    text: str = Field(description="that was read of it")


class Word(BaseModel):
    start: int = Field(description="first code point of the word in the text")
    end: int = Field(description="the code point behind it")
    weight: float = Field(
        description="what it adds to the probability of the label; approximate"
    )


class ExplainResponse(BaseModel):
    label: str = Field(description="the label that is explained, the one of classify")
    prob: float = Field(description="its probability")
    words: list[Word]


class Info(BaseModel):
    run: str = Field(description="the name of the run that is served")
    labels: list[str]
    threshold: Threshold | None = Field(description="that decides; null: none is set")
    max_length: int = Field(description="tokens; what is longer is cut")
    model_sha256: str = Field(description="of the model's description and weights")
    version: str = Field(description="of gpt2-jax")
    examples: list[str] = Field(description="texts that the page offers to try")


class Problem(BaseModel):
    error: str = Field(description="what is wrong, in one line")


_PROBLEMS = {
    400: "not JSON, or not for this host",
    401: "the token is missing or wrong",
    403: "sent by a page of another origin",
    408: "the request came too slowly",
    413: "the body is too large",
    415: "the body has another content type",
    422: "the body or a parameter is not what is expected",
    429: "too many texts wait; see Retry-After",
    503: "not ready, or no answer in time; see Retry-After",
}

PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text}
    for status, text in _PROBLEMS.items()
}
