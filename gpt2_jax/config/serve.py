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
    cors_origins: tuple[str, ...] = option(
        (),
        "a site whose pages may ask too, as https://intranet.example",
        flag="--cors-origin",
        metavar="URL",
        repeated=True,
    )
    root_path: str = option(
        "",
        "path under which a reverse proxy shows it, as /spam; kept or taken off there",
        metavar="PATH",
    )
    examples: tuple[str, ...] = option(
        (),
        "a text that the page offers to try",
        unset="two, where the run's data are demo or sms-spam",
        flag="--example",
        metavar="TEXT",
        repeated=True,
    )
    access_log: bool = option(
        False, "print a line of JSON for each request, without its text"
    )
    max_body: int = option(65536, "bytes of a request", metavar="BYTES", at_least=1)
    max_file: int = option(
        100_000_000,
        "bytes of a file of texts, also when it is unpacked",
        metavar="BYTES",
        at_least=1,
    )
    max_files: int = option(
        4, "files that are answered at once", metavar="FILES", at_least=1
    )
    max_texts: int = option(128, "texts of a request", metavar="TEXTS", at_least=1)
    # At least one explanation.
    max_queue: int = option(
        1024, "texts that wait for the device", metavar="TEXTS", at_least=256
    )
    max_connections: int = option(
        1000,
        "open connections; beyond, the one that was idle longest is closed",
        metavar="N",
        at_least=2,
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
        require(
            re.fullmatch("(/[A-Za-z0-9._~-]+)*/?", self.root_path) is not None,
            f"root_path={self.root_path!r} must be a path such as /spam",
        )
        object.__setattr__(self, "root_path", self.root_path.rstrip("/"))
        for origin in self.cors_origins:
            require(
                re.fullmatch("https?://[^/*\\s]+", origin) is not None,
                f"cors_origins={origin!r} must be scheme and host, as "
                "https://intranet.example",
            )
        for field in ("allow_hosts", "cors_origins"):
            names = tuple(name.lower() for name in getattr(self, field))
            object.__setattr__(self, field, names)
        require(
            2 * self.max_texts <= self.max_queue,
            f"max_queue={self.max_queue} must hold two requests of max_texts="
            f"{self.max_texts}",
        )
