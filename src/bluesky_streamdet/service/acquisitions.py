"""A data plane for each series: started when one is armed, gone after its end, so that an idle camera costs nothing.

What it does between is as with one that stays; what differs is here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from bluesky_streamdet.core.errors import Busy, RequestRefused, ServiceUnreachable, StreamdetError
from bluesky_streamdet.core.rules import State
from bluesky_streamdet.service.config import ServedDetector
from bluesky_streamdet.service.dataplane import DataPlaneProcess, command_of
from bluesky_streamdet.service.serieslog import DESCRIBING
from bluesky_streamdet.service.supervisor import Supervisor
from bluesky_streamdet.streaming.messages import Answer, Arm, Command, Pause, SetLogLevel, SetOutputs, SetSource

SETTINGS = Pause | SetLogLevel | SetOutputs | SetSource
"""What the next data plane begins with, where there is none now."""


class AcquisitionSupervisor(Supervisor):
    """Starts a data plane for each series that is armed, and takes no others.

    config, command, clock: as of `Supervisor`. check: called before a data plane is started; raises what speaks against
    it. A detector that can't be served now says so in its status, and arming
    tries again, as what is wrong with one must not keep others from being served.
    """

    NEXT = "The next series may be armed."
    ABSENT = State.IDLE

    def __init__(
        self,
        config: ServedDetector,
        check: Callable[[], None] = lambda: None,
        command: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(
            config.changed(unarmed="ignore"), command=(*(command or command_of(config.PLANE)), "--once"), clock=clock
        )
        self._check = check
        self._arming = asyncio.Lock()
        self._prepared = False
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read what is known of earlier series. Raises nothing: the status has what is wrong."""
        try:
            await self._prepare()
        except StreamdetError as error:
            self._trouble = str(error)
        self._publish()
        self._look_after(self._look_for_silence())

    async def close(self) -> None:
        """Let the series that runs be drained; an arm that is under way comes first, and no other."""
        self._closing = True
        async with self._arming:
            await super().close()

    @property
    def takes_frames(self) -> bool:
        """Whether there is a data plane, which is connected to the detector."""
        return self._plane is not None

    @property
    def ready(self) -> bool:
        """Whether a series can be armed now, or one runs."""
        return super().ready if self._plane is not None else self._prepared and not self._closing

    async def ask(self, command: Command, timeout: float | None = None) -> tuple[Answer, list[bytes]]:
        """As `Supervisor.ask`; an arm starts a data plane. Raises `RequestRefused` for what needs one, without."""
        if isinstance(command, Arm):
            async with self._arming:
                return await self._arm(command, timeout)
        if self._plane is not None and self._latest is not None:
            return await super().ask(command, timeout)
        if isinstance(command, SETTINGS):
            return Answer(status=self.board.status), []
        raise RequestRefused(
            f"No series of {self.config.detector} is armed or runs, so that there is nothing to ask.", "Arm one first."
        )

    async def _arm(self, command: Arm, timeout: float | None) -> tuple[Answer, list[bytes]]:
        if self._closing:
            raise ServiceUnreachable("The service is ending.", "Start it again, then arm.")
        running = self.board.status.series is not None
        if not running:
            await self._have_a_new_one()
        try:
            return await super().ask(command, timeout)
        except StreamdetError:
            if not running and self._plane is not None:
                # Refused, or nobody knows; with the process goes whatever it may still do about it.
                await self._plane.quit(self.config.watch.answer)
                await self._plane.kill()
                await self._see_it_off()
            raise

    async def _have_a_new_one(self) -> None:
        """Start a data plane. Raises what it meets, and `Busy` while the one before has not come to its end."""
        await self._see_it_off()
        if not self._prepared:
            await self._prepare()
        else:
            await self._pid_file.wait_for_predecessor(self.config.watch.answer)
        # Nothing may come in between: of two who check at once one has to be the first.
        self._check()
        plane = await self._launch()
        self._watching = self._look_after(self._until_it_ends(plane))

    async def _prepare(self) -> None:
        await self._pid_file.wait_for_predecessor(self.config.watch.drain)
        await self.series.start()
        self.late.retry()
        self._prepared = True
        self._trouble = None

    async def _see_it_off(self) -> None:
        """Await the end of the data plane before, and of what has to be closed for it."""
        if self._watching is None:
            return
        limit = self.config.watch.drain + DESCRIBING
        await asyncio.wait([self._watching], timeout=limit)
        if not self._watching.done():
            raise Busy(
                f"The data plane of the series before has not ended within {limit:g} s.",
                "Its disk may hang, or a client of an output takes nothing.",
            )

    async def _until_it_ends(self, plane: DataPlaneProcess) -> None:
        await plane.ended.wait()
        if self._closing:
            return
        if plane.exit_code == 0 and not await self._lay_out(plane, "the data plane ended by itself"):
            self._publish()
        else:
            await self._mourn(plane)
