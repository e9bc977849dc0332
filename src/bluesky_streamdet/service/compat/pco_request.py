"""What a client of the PCO's old supervisor asks of a series, and what that is in our terms.

All values come as texts. The old program gave the file name to a shell and to printf, wrote wherever it said, as whom
it said, and from wherever it said; here each of these has to be something that the configuration allows.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field, ValidationError

from bluesky_streamdet.core.errors import ConfigError, RequestRefused
from bluesky_streamdet.service.compat.config import CompatConfig
from bluesky_streamdet.service.compat.pco_account import NOBODY, Asked
from bluesky_streamdet.streaming.messages import ArmRequest
from bluesky_streamdet.streaming.wording import in_words

NOWHERE = "/dev/null"
"""A file name for frames that nobody wants, as in a test of speed."""
MOST_FRAMES = 1 << 53


class StartRequest(BaseModel):
    """The body of /start_pco_writer; the client says more than these, and needs no more.

    output_file: inside of the data directory; %d or %03d is the place for the number of a file. n_frames: 0 for as many
    as come until the stop. user_id: whom the file shall belong to, -1 for nobody else. max_frames_per_file: 0 for as
    many as there are. flask_api_address: where the old writer reported to; nothing is sent there.
    """

    connection_address: str = Field(max_length=1000)
    output_file: str = Field(pattern=r"^[%./a-zA-Z0-9_-]*[a-zA-Z0-9_-]$", max_length=1000)
    n_frames: int = Field(ge=0, le=MOST_FRAMES)
    user_id: int = Field(ge=NOBODY, lt=1 << 32)
    dataset_name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,79}$")
    max_frames_per_file: int = Field(ge=0, le=MOST_FRAMES)
    writer_rest_port: int
    flask_api_address: str = Field(max_length=1000)

    @property
    def asked(self) -> Asked:
        return Asked(self.output_file, self.dataset_name, self.user_id)

    def order(self, compat: CompatConfig) -> ArmRequest:
        """The series that is asked for. Raises `RequestRefused`, `ConfigError`."""
        if self.writer_rest_port != compat.writer_port:
            raise RequestRefused(
                f"writer_rest_port is {self.writer_rest_port}, but the writer of this camera has {compat.writer_port}.",
                "Use the address of the other camera's service, or change compat.writer_port.",
            )
        folder, _, name = self.output_file.rpartition("/")
        if "%" in folder:
            raise RequestRefused("output_file has a % in the name of a folder.", "Number the files, not their folders.")
        rolls = self._frames_per_file()
        try:
            return ArmRequest(
                directory=folder or ("/" if self.output_file.startswith("/") else None),
                name=name,
                expected_frames=self.n_frames or None,
                open_ended=not self.n_frames,
                save=self.output_file != NOWHERE,
                # Only a series in one file can go into a file that is there.
                add=not rolls,
                dataset=self.dataset_name,
                frames_per_file=rolls,
                owner=self._owner(compat),
            )
        except ValidationError as error:
            raise ConfigError(in_words(error.errors(include_url=False), ArmRequest)) from error

    def _owner(self, compat: CompatConfig) -> int | None:
        if self.user_id == 0:
            raise RequestRefused("user_id is 0: no file is written for the superuser.", "Give a user's own id.")
        if self.user_id == NOBODY or not compat.users:
            return None
        if self.user_id not in compat.users:
            raise RequestRefused(
                f"user_id {self.user_id} is none of those whom files may belong to.", "Add it to compat.users."
            )
        return self.user_id

    def _frames_per_file(self) -> int:
        """0 where one file takes them all: nobody can number files whose name has no place for it."""
        most, wanted = self.max_frames_per_file, self.n_frames
        if "%" in self.output_file:
            return most if most < wanted or not wanted else 0
        if 0 < most < wanted:
            raise RequestRefused(
                f"{self.n_frames} frames, {self.max_frames_per_file} in each file, need several files.",
                "Put %03d into output_file, as the client does by itself.",
            )
        return 0


def read(values: dict[str, Any]) -> StartRequest:
    """Raises `ConfigError`, which names all that is wrong."""
    try:
        return StartRequest.model_validate(values)
    except ValidationError as error:
        raise ConfigError(in_words(error.errors(include_url=False), StartRequest)) from error
