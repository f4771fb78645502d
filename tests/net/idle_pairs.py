"""Joins many pairs of connections, lets them idle, wakes one, ends all, and prints what it took.

The process that joins has two descriptors a pair, as a proxy has; the far ends are in a child. Started by
`test_idle_pairs` with the number of pairs.
"""

import asyncio
import gc
import json
import os
import resource
import socket
import sys
import time

import uvloop

from teleport.net.keepalive import KEEPALIVE, Vigil
from teleport.net.splice import Pipes, splice

IDLE_SECONDS = 2.0
LOOK_EVERY = 15.0
"""Seconds between looks for the deaf, as in the program."""
Ends = tuple[socket.socket, socket.socket]


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def memory() -> int:
    """Resident bytes of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def allowed(wanted: int) -> int:
    """As many pairs as this process may have descriptors for."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return min(wanted, (hard - 200) // 2)


class FarEnds:
    """The child that has the other ends of all pairs."""

    def __init__(self) -> None:
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._child = os.fork()
        if self._child == 0:
            self._orders.close()
            _obey(theirs)
            os._exit(0)
        theirs.close()

    def pair(self) -> Ends:
        """Two connections whose far ends are there; these are the near ones."""
        (left, left_far), (right, right_far) = socket.socketpair(), socket.socketpair()
        with left_far, right_far:
            socket.send_fds(self._orders, [b"take"], [left_far.fileno(), right_far.fileno()])
        left.setblocking(False)
        right.setblocking(False)
        return left, right

    async def do(self, order: str) -> None:
        """Have something done, and wait until it is."""
        self._orders.send(order.encode())
        answer = await asyncio.to_thread(self._orders.recv, 100)
        assert answer == b"done"

    def end(self) -> None:
        self._orders.close()
        os.waitpid(self._child, 0)


def _obey(orders: socket.socket) -> None:
    pairs: list[Ends] = []
    while True:
        said, received, _, _ = socket.recv_fds(orders, 100, 2)
        word, _, number = said.decode().partition(" ")
        if word == "take":
            pairs.append((socket.socket(fileno=received[0]), socket.socket(fileno=received[1])))
            continue
        if not word:
            return
        chosen = pairs[: int(number)] if word in ("greet", "leave") else [pairs[int(number)]]
        for left, right in chosen:
            if word == "leave":
                left.close()
                right.close()
                continue
            right.sendall(b"hello")
            assert left.recv(5) == b"hello"
        orders.send(b"done")


async def measure(count: int, far: FarEnds) -> dict[str, float]:
    pipes, vigil = Pipes(), Vigil(every=LOOK_EVERY)
    pairs = [far.pair() for _ in range(count)]
    await far.do("greet 0")
    gc.collect()
    before, held = memory(), descriptors()

    async def joined(left: socket.socket, right: socket.socket) -> None:
        with vigil.over(left.fileno(), right.fileno()):
            await splice(left, right, pipes)

    tasks = [asyncio.create_task(joined(left, right)) for left, right in pairs]
    await far.do(f"greet {count}")
    taken, piped = memory() - before, descriptors() - held

    began = time.process_time()
    await asyncio.sleep(IDLE_SECONDS)
    idle = time.process_time() - began
    began = time.process_time()
    vigil._look()
    looking = time.process_time() - began

    began = time.perf_counter()
    await far.do(f"wake {count // 2}")
    woken = time.perf_counter() - began

    began = time.perf_counter()
    await far.do(f"leave {count // 2}")
    await asyncio.gather(*tasks[: count // 2])
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    ended = time.perf_counter() - began
    left_open = sum(one.fileno() >= 0 for pair in pairs for one in pair)
    pipes.close()
    return {
        "pairs": count, "bytes_per_pair": round(taken / count), "descriptors_for_pipes": piped,
        "idle_share_of_processor": round(idle / IDLE_SECONDS + looking / LOOK_EVERY, 4),
        "wake_seconds": round(woken, 4), "end_seconds": round(ended, 2), "sockets_left": left_open,
        "descriptors_left": descriptors() - (held - 2 * count),
    }  # fmt: skip


if __name__ == "__main__":
    assert KEEPALIVE.seconds > LOOK_EVERY
    count = allowed(int(sys.argv[1]))
    far_ends = FarEnds()
    print(json.dumps(uvloop.run(measure(count, far_ends))))
    far_ends.end()
