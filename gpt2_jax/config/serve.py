"""Where a run is served, to whom, and how much of it at once."""

from __future__ import annotations

import dataclasses
import re

from gpt2_jax.config.fields import check_fields, option, require


@dataclasses.dataclass(frozen=True)
class ServeConfig:
    """Where a run is served, to whom, and how much of it at once."""

    host: str = option("127.0.0.1", "address to listen on")
    port: int = option(8000, "0: any free one", at_least=0, below=65536)
    # Never in a log or a traceback.
    token: str | None = option(
        None,
        "that every client must send as Bearer token; or set GPT2_JAX_TOKEN",
        metavar="TOKEN",
        repr=False,
    )
    allow_hosts: tuple[str, ...] = option(
        (),
        "a name under which browsers reach this host, beside --host and localhost",
        flag="--allow-host",
        repeated=True,
    )
    max_body: int = option(65536, "bytes of a request", metavar="BYTES", at_least=1)
    max_file: int = option(
        100_000_000,
        "bytes of a file of texts, also when it is unpacked",
        metavar="BYTES",
        at_least=1,
    )
    # At least two of the largest requests, or one explanation.
    max_queue: int = option(
        1024, "texts that wait for the device", metavar="TEXTS", at_least=256
    )
    max_wait: float = option(
        0.002,
        "seconds that a text waits for others, if there were any",
        metavar="SECONDS",
        at_least=0,
    )
    batch_tokens: int = option(
        256,
        "tokens of a batch of several texts, padding included",
        metavar="TOKENS",
        at_least=1,
    )
    timeout: float = option(
        30.0, "seconds until a request is given up", metavar="SECONDS", above=0
    )
    read_timeout: float = option(
        10.0,
        "seconds that a client may take to send a request",
        metavar="SECONDS",
        above=0,
    )

    def __post_init__(self) -> None:
        check_fields(self)
        require(
            self.token is None or re.fullmatch("[!-~]+", self.token) is not None,
            "the token must be printable ASCII without spaces",
        )
        names = tuple(name.lower() for name in self.allow_hosts)
        object.__setattr__(self, "allow_hosts", names)
