"""What a service is told of the old program whose clients it answers."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from bluesky_streamdet.streaming.endpoints import Section

DIALECTS = {"receiver": 5000, "repeater": 8888}
"""The old programs whose clients a service can answer, and the port that each of them had."""

LOOPBACK = ["127.0.0.0/8", "::1"]
PRIVATE = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"]


class CompatConfig(Section):
    """An old program's interface, besides our own; `compat: receiver` is short for its defaults.

    port: the old program's, unless given. allow: addresses or networks of the clients that may use it, without a key as
    they have none. directory: where the configuration files lie that clients may name; they may name none unless given.
    """

    dialect: str
    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65535)
    allow: list[str] = LOOPBACK
    directory: Path | None = None

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
