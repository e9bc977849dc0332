"""What a service is told of the old program whose clients it answers."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from bluesky_streamdet.streaming.endpoints import Section, checked_address

DIALECTS = {"receiver": 5000, "repeater": 8888, "pco-writer": 9555, "pco-supervisor": 9901}
"""The old programs whose clients a service can answer, and the port that each of them had."""

USUAL: dict[str, dict[str, Any]] = {
    "repeater": {"paused": True},
    "pco-writer": {"files": {"layout": "exchange"}},
    "pco-supervisor": {
        "paused": True,
        "unarmed": "ignore",
        "source": {"let_go": True},
        "files": {"layout": "exchange"},
    },
}
"""Settings of a detector, by the dialect, as the old program did it: what its clients have to start begins paused; the
supervisor's writer lived, and was connected to the camera, during a series only.
"""

LOOPBACK = ["127.0.0.0/8", "::1"]
PRIVATE = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"]


class CompatConfig(Section):
    """An old program's interface, besides our own; `compat: receiver` is short for its defaults.

    port: the old program's, unless given. allow: addresses or networks of the clients that may use it, without a key as
    they have none. directory: where the configuration files lie that clients of the repeater may name; they may name
    none unless given.

    Of the PCO's supervisor: writer_port: where its writer answers during a series. sources: other addresses of the
    camera that clients may name, besides `source.endpoints`. users: ids of those whom files may belong to, as the
    client says; left out, files belong to whom the service runs as, whatever it says.
    """

    dialect: str
    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65535)
    allow: list[str] = LOOPBACK
    directory: Path | None = None
    writer_port: int = Field(default=9555, ge=1, le=65535)
    sources: list[str] = []
    users: list[Annotated[int, Field(ge=1)]] = []

    @property
    def ports(self) -> dict[str, int]:
        """Where it answers, by the setting that says so; at the writer's port during a series only."""
        writer = {"compat.writer_port": self.writer_port} if self.dialect == "pco-supervisor" else {}
        return {"compat.port": self.port, **writer}

    @model_validator(mode="before")
    @classmethod
    def _take_the_port_of_the_old_program(cls, values: Any) -> Any:
        if isinstance(values, str):
            values = {"dialect": values}
        if isinstance(values, dict):
            return {"port": DIALECTS.get(str(values.get("dialect")), 0), **values}
        return values

    @field_validator("dialect")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in DIALECTS:
            raise ValueError(f"no such program; allowed: {', '.join(DIALECTS)}")
        return name

    @field_validator("allow")
    @classmethod
    def _are_networks(cls, networks: list[str]) -> list[str]:
        for network in networks:
            ipaddress.ip_network(network, strict=False)
        return networks

    @model_validator(mode="after")
    def _has_no_settings_of_another(self) -> Self:
        if (self.users or self.sources) and self.dialect != "pco-supervisor":
            raise ValueError("users and sources are for dialect: pco-supervisor only")
        return self

    @field_validator("sources")
    @classmethod
    def _are_addresses(cls, sources: list[str]) -> list[str]:
        return [checked_address(source) for source in sources]


def with_usual(values: dict[str, Any]) -> dict[str, Any]:
    """The settings of a detector, with those that its dialect implies where they are left out."""
    compat = values.get("compat")
    dialect = compat.get("dialect") if isinstance(compat, dict) else compat
    for name, usual in USUAL.get(str(dialect), {}).items():
        given = values.get(name, {} if isinstance(usual, dict) else usual)
        values = {**values, name: {**usual, **given} if isinstance(given, dict) and isinstance(usual, dict) else given}
    return values
