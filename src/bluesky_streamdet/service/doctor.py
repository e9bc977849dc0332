"""What would keep a detector's service from working, looked for before anybody waits for frames.

Each check is a function of the configuration and gives findings; none changes anything but for a small file that it
removes again.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import stat
import time
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from bluesky_streamdet.catalog import DETECTORS
from bluesky_streamdet.core.errors import ConfigError, MissingLibrary
from bluesky_streamdet.service import keys
from bluesky_streamdet.service.config import DetectorConfig
from bluesky_streamdet.streaming import trial
from bluesky_streamdet.streaming.chain import Chain
from bluesky_streamdet.streaming.files.access import NETWORK, Access, file_system
from bluesky_streamdet.transforms import bslz4

PATIENCE = 2.0
"""Seconds for a detector to answer."""
LITTLE_SPACE = 10 << 30
SKEW = 1.0
"""Seconds by which clocks may differ."""


class Verdict(StrEnum):
    FINE = "fine"
    DOUBTFUL = "doubtful"
    BAD = "bad"


class Finding(NamedTuple):
    """What was found, and how to mend it if it is not fine."""

    verdict: Verdict
    what: str
    hint: str = ""


def examine(config: DetectorConfig) -> Iterator[Finding]:
    """All findings, in the order in which one would mend them."""
    for check in CHECKS:
        yield from check(config)


def _ports(config: DetectorConfig) -> Iterator[Finding]:
    """The ports that the service will listen on."""
    wanted = {"rest.port": (config.rest.host, config.rest.port)}
    if config.compat is not None:
        wanted |= {setting: (config.compat.host, port) for setting, port in config.compat.ports.items()}
    addresses = {f"outputs.{one.name}": one.address for one in config.outputs}
    if config.monitor is not None:
        addresses["monitor"] = config.monitor
    for setting, address in addresses.items():
        parts = urlsplit(address)
        if parts.scheme == "tcp":
            host = parts.netloc.rpartition(":")[0]
            wanted[setting] = ("0.0.0.0" if host == "*" else host, parts.port or 0)  # noqa: S104, tried only
    if config.source.bind:
        for endpoint in config.source.endpoints:
            parts = urlsplit(endpoint)
            wanted["source.endpoints"] = (parts.hostname or "0.0.0.0", parts.port or 0)  # noqa: S104
    for setting, (host, port) in wanted.items():
        yield _port(setting, host, port)


def _port(setting: str, host: str, port: int) -> Finding:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            return Finding(
                Verdict.BAD,
                f"{setting}: {host}:{port} can't be listened on: {error.strerror}",
                f"`ss -ltnp 'sport = :{port}'` shows who has it: this service already? Or change {setting}.",
            )
    return Finding(Verdict.FINE, f"{setting}: {host}:{port} is free" if port else f"{setting}: any port that is free")


def _detector(config: DetectorConfig) -> Iterator[Finding]:
    """Whether somebody listens where frames should come from."""
    if config.source.bind:
        return
    for endpoint in config.source.endpoints:
        parts = urlsplit(endpoint)
        if parts.scheme != "tcp" or parts.hostname is None:
            continue
        try:
            socket.create_connection((parts.hostname, parts.port or 0), PATIENCE).close()
        except socket.gaierror:
            hint = "Mend the name in source.endpoints, or the name server."
            yield Finding(Verdict.BAD, f"no machine is called {parts.hostname}", hint)
        except OSError as error:
            reason = error.strerror or f"no answer within {PATIENCE:g} s"
            hint = "Is the detector on, and its stream enabled? The service waits for it, so it may come later."
            yield Finding(Verdict.DOUBTFUL, f"nobody sends at {endpoint}: {reason}", hint)
        else:
            yield Finding(Verdict.FINE, f"somebody sends at {endpoint}")


def _modules(config: DetectorConfig) -> Iterator[Finding]:
    """Whether as many sockets are configured as the detector has modules."""
    usual, given = DETECTORS[config.type].modules, len(config.source.endpoints)
    if config.source.modules and given != usual:
        hint = "If it really has another number of modules, never mind."
        what = f"source.endpoints names {given}, and a {config.type} sends by {usual}, one for each module"
        yield Finding(Verdict.DOUBTFUL, what, hint)


def _directory(config: DetectorConfig) -> Iterator[Finding]:
    """Whether files can be written where they should go, and be read by others."""
    directory = config.files.directory.resolve()
    existing = next(one for one in (directory, *directory.parents) if one.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        hint = f"`sudo chown {os.getuid()} {existing}`, or change files.directory."
        yield Finding(Verdict.BAD, f"{existing} can't be written to by this user", hint)
        return
    if existing != directory:
        yield Finding(Verdict.FINE, f"{directory} will be made in {existing}")
    try:
        trial.write_and_read(existing)
    except OSError as error:
        hint = "Set files.swmr to off; then files are written so that any file system will do."
        verdict = Verdict.DOUBTFUL if config.files.swmr == "off" else Verdict.BAD
        yield Finding(verdict, f"no file in {existing} can be read by SWMR while it is written: {error}", hint)
    else:
        yield Finding(Verdict.FINE, f"a file in {existing} was written, and read while it was open")
    yield _space(existing, config)
    yield _readable(existing)


def _access(config: DetectorConfig) -> Iterator[Finding]:
    """Whether files can be what the configuration makes of them."""
    files = config.files
    kind = file_system(files.directory)
    if kind in NETWORK and files.swmr == "on":
        hint = "Set files.swmr to auto: readers on other machines don't see writes in their order there."
        yield Finding(Verdict.DOUBTFUL, f"{files.directory} is {kind}, which SWMR was not made for", hint)
    elif kind in NETWORK and files.swmr == "auto":
        yield Finding(Verdict.FINE, f"{files.directory} is {kind}: files are written without SWMR")
    if trouble := Access.of(files).ownership.trouble():
        hint = "Run the service as root or as that user, or change files.owner and files.group."
        yield Finding(Verdict.BAD, f"files can't belong to whom they should: {trouble}", hint)
    if files.spill is not None:
        yield _second(files.directory.resolve(), files.spill.resolve())


def _second(first: Path, second: Path) -> Finding:
    """Whether the second directory is there for when the first one's disk fails."""
    existing, other = (next(one for one in (path, *path.parents) if one.exists()) for path in (second, first))
    if not os.access(existing, os.W_OK | os.X_OK):
        hint = f"`sudo chown {os.getuid()} {existing}`, or change files.spill."
        return Finding(Verdict.BAD, f"the second directory {existing} can't be written to by this user", hint)
    if existing.stat().st_dev == other.stat().st_dev:
        what = f"the second directory {second} is on the same disk as {first}"
        return Finding(Verdict.DOUBTFUL, what, "When that is full, so is this. Set files.spill to another disk.")
    return Finding(Verdict.FINE, f"frames that {first} can take no more go to {second}")


def _space(directory: Path, config: DetectorConfig) -> Finding:
    free, least = shutil.disk_usage(directory).free, config.files.least_free_megabytes * 1e6
    text = f"{free / 1e9:,.1f} GB free in {directory}"
    if free < least:
        return Finding(Verdict.BAD, f"{text}, less than files.least_free_megabytes: no series begins", "Make room.")
    return Finding(Verdict.FINE, text) if free > LITTLE_SPACE else Finding(Verdict.DOUBTFUL, text, "Make room.")


def _readable(directory: Path) -> Finding:
    """Whether Tiled, which seldom runs as the same user, gets at the files."""
    for folder in (directory, *directory.parents):
        if not folder.stat().st_mode & stat.S_IXOTH:
            return Finding(
                Verdict.DOUBTFUL,
                f"{folder} is closed to other users, so that a Tiled server of another user can't read",
                f"Put that user into the group {folder.stat().st_gid}, or `chmod o+x {folder}`.",
            )
    return Finding(Verdict.FINE, f"{directory} can be reached by other users, such as Tiled's")


def _hook(config: DetectorConfig) -> Iterator[Finding]:
    """Whether the command for closed series can be found."""
    if not config.files.hook:
        return
    program = config.files.hook[0]
    found = shutil.which(config.files.directory / program if os.sep in program else program)
    if found is None:
        yield Finding(Verdict.BAD, f"files.hook: there is no program {program}", "Write it with its whole path.")
    else:
        yield Finding(Verdict.FINE, f"after each series {found} is run")


def _libraries(config: DetectorConfig) -> Iterator[Finding]:
    for name in trial.missing_filters():
        yield Finding(Verdict.BAD, f"HDF5 has no filter {name}", "`pip install --force-reinstall hdf5plugin`")
    try:
        bslz4.encode(trial.PIXELS)
    except MissingLibrary as error:
        yield Finding(Verdict.DOUBTFUL, error.message, error.hint)
    else:
        yield Finding(Verdict.FINE, "compression: HDF5's filters and the library bitshuffle are there")


def _transforms(config: DetectorConfig) -> Iterator[Finding]:
    """Whether the files of all steps can be read."""
    try:
        chain = Chain(config.transforms)
    except (ConfigError, MissingLibrary) as error:
        yield Finding(Verdict.BAD, error.message, error.hint or "Mend the name of the file.")
    else:
        if chain.names:
            yield Finding(Verdict.FINE, f"transforms: {', '.join(chain.names)}")


def _clock(config: DetectorConfig) -> Iterator[Finding]:
    """Whether this machine's clock is kept right, and agrees with that of the data directory."""
    synchronized = _synchronized()
    if synchronized is False:
        yield Finding(Verdict.DOUBTFUL, "the clock is not synchronized", "`timedatectl set-ntp true`, or run chrony.")
    elif synchronized:
        yield Finding(Verdict.FINE, "the clock is synchronized")
    directory = next(one for one in (config.files.directory, *config.files.directory.parents) if one.exists())
    try:
        skew = trial.clock_skew(directory, time.time())
    except OSError:
        return  # That nothing can be written there has been said.
    if abs(skew) > SKEW:
        hint = "Synchronize both machines; the times in files and of files won't agree."
        yield Finding(Verdict.DOUBTFUL, f"the clock of {directory} differs by {skew:+.1f} s", hint)


def _synchronized() -> bool | None:
    """What the kernel knows of its clock; None where it can't be asked. Source: adjtimex(2)."""
    size, status_offset, not_synchronized = 256, 40, 0x40
    try:
        buffer = ctypes.create_string_buffer(size)
        if ctypes.CDLL(None).adjtimex(buffer) < 0:
            return None
    except (OSError, AttributeError):
        return None
    status = ctypes.c_int.from_buffer(buffer, status_offset).value
    return not status & not_synchronized


def _key(config: DetectorConfig) -> Iterator[Finding]:
    try:
        where = keys.origin(config.rest.api_key_file)
    except ConfigError as error:
        yield Finding(Verdict.BAD, error.message, error.hint)
        return
    yield Finding(Verdict.FINE, f"API key: {where}")


CHECKS: tuple[Callable[[DetectorConfig], Iterator[Finding]], ...] = (
    _ports,
    _detector,
    _modules,
    _directory,
    _access,
    _hook,
    _libraries,
    _transforms,
    _clock,
    _key,
)
