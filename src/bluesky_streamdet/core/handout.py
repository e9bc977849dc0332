"""Frames to workers that ask for them: each frame to one worker, in the order of their requests.

A worker asks, gets a frame, and asks again when it is done with that; there is no other sign that it is. So a frame is
done when its worker's next request comes, and lost when its worker goes away before. What waits is bounded; requests
are small, and never dropped.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Generic, Literal, NamedTuple, TypeVar

Item = TypeVar("Item")
Policy = Literal["fresh", "complete"]


@dataclass
class Worker:
    """Frames that one worker got, has finished, and has in hand."""

    delivered: int = 0
    done: int = 0
    in_hand: int = 0


class Given(NamedTuple, Generic[Item]):
    """A frame for a worker."""

    peer: Hashable
    item: Item


@dataclass
class Handout(Generic[Item]):
    """Who waits for a frame, which frames wait, and who has which in hand.

    policy: "fresh" gives the newest frame first, and drops the oldest when `most` wait; "complete" gives them in the
    order in which they came, and drops none: nothing should be added while it is `full`. most, most_bytes: that may
    wait. gone: of the workers that have left, how many there were, and what became of their frames. At every moment, in
    frames: seen = waiting + delivered + dropped + failed, and delivered = in_hand + done + lost.
    """

    policy: Policy = "fresh"
    most: int = 100
    most_bytes: int = 1 << 30
    workers: dict[Hashable, Worker] = field(default_factory=dict, init=False)
    gone: Counter[str] = field(default_factory=Counter, init=False)
    seen: int = field(default=0, init=False)
    dropped: int = field(default=0, init=False)
    failed: int = field(default=0, init=False)
    _asking: OrderedDict[Hashable, None] = field(default_factory=OrderedDict, init=False)
    _frames: deque[tuple[Item, int]] = field(default_factory=deque, init=False)
    _nbytes: int = field(default=0, init=False)

    # What happens.

    def ask(self, peer: Hashable) -> bool:
        """A worker asks for a frame, and is done with what it had. False when its last request is still open."""
        worker = self.workers.setdefault(peer, Worker())
        worker.done += worker.in_hand
        worker.in_hand = 0
        if peer in self._asking:
            return False
        self._asking[peer] = None
        return True

    def leave(self, peer: Hashable) -> int:
        """A worker is gone. Returns how many frames went with it."""
        self._asking.pop(peer, None)
        worker = self.workers.pop(peer, None)
        if worker is None:
            return 0
        self.gone.update(workers=1, delivered=worker.delivered, done=worker.done, lost=worker.in_hand)
        return worker.in_hand

    def put(self, item: Item, nbytes: int) -> list[Item]:
        """A frame has come. Returns those that had to make room for it, or itself when it fits nowhere."""
        self.seen += 1
        self._frames.append((item, nbytes))
        self._nbytes += nbytes
        dropped = []
        while self.policy == "fresh" and self._overfull:
            oldest, size = self._frames.popleft()
            self._nbytes -= size
            self.dropped += 1
            dropped.append(oldest)
        return dropped

    def take_back(self, given: Given[Item], nbytes: int) -> None:
        """A frame could not be handed over, as its worker is gone: it waits again, before all others."""
        worker = self.workers.get(given.peer)
        if worker is not None:
            worker.in_hand -= 1
            worker.delivered -= 1
        newest = self.policy == "fresh"
        (self._frames.append if newest else self._frames.appendleft)((given.item, nbytes))
        self._nbytes += nbytes
        self.leave(given.peer)

    def spoil(self, given: Given[Item]) -> None:
        """A frame turned out to be none that can be sent: its worker still asks, before all others."""
        worker = self.workers[given.peer]
        worker.in_hand -= 1
        worker.delivered -= 1
        self.failed += 1
        self._asking[given.peer] = None
        self._asking.move_to_end(given.peer, last=False)

    def next(self, most: int) -> list[Item]:
        """The frames that leave next, at most so many."""
        frames = reversed(self._frames) if self.policy == "fresh" else iter(self._frames)
        return [item for item, _ in islice(frames, most)]

    def give(self) -> Iterator[Given[Item]]:
        """The frames that can leave now, each with its worker; whoever asked first comes first."""
        while self._asking and self._frames:
            item, nbytes = self._frames.pop() if self.policy == "fresh" else self._frames.popleft()
            self._nbytes -= nbytes
            peer, _ = self._asking.popitem(last=False)
            worker = self.workers[peer]
            worker.delivered += 1
            worker.in_hand += 1
            yield Given(peer, item)

    def discard(self) -> int:
        """Drop all frames that wait. Returns how many."""
        count = len(self._frames)
        self.dropped += count
        self._frames.clear()
        self._nbytes = 0
        return count

    # How it stands.

    @property
    def full(self) -> bool:
        """Whether no frame may be added without a loss."""
        return len(self._frames) >= self.most or self._nbytes >= self.most_bytes

    @property
    def _overfull(self) -> bool:
        return len(self._frames) > self.most or (self._nbytes > self.most_bytes and len(self._frames) > 1)

    @property
    def waiting(self) -> int:
        """Frames that wait for a worker."""
        return len(self._frames)

    @property
    def asking(self) -> int:
        """Workers that wait for a frame."""
        return len(self._asking)

    @property
    def in_hand(self) -> int:
        """Frames that workers have and are not done with."""
        return sum(worker.in_hand for worker in self.workers.values())

    @property
    def delivered(self) -> int:
        return self.gone["delivered"] + sum(worker.delivered for worker in self.workers.values())

    @property
    def done(self) -> int:
        return self.gone["done"] + sum(worker.done for worker in self.workers.values())

    @property
    def lost(self) -> int:
        """Frames whose worker went away with them."""
        return self.gone["lost"]

    @property
    def all_wait(self) -> bool:
        """Whether nothing is left to do: no frame waits, and no worker has one."""
        return not self._frames and self.in_hand == 0
