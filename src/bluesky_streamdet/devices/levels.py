"""How detectors of ophyd-async are told of levels of a cable, for kinds that can take them."""

from __future__ import annotations

from bluesky_streamdet.devices.asynchronous import StreamTrigger


class LevelTrigger(StreamTrigger):
    """Takes levels of a cable besides edges: a frame lasts as long as its gate."""

    level = False

    async def prepare_level(self, num: int) -> None:
        await self._prepare(0.0, external=True)
        self.level = True

    async def _prepare(self, livetime: float, *, external: bool) -> None:
        self.level = False
        await super()._prepare(livetime, external=external)
