"""Asks the function of this demo without a pause, replaces it and the filter before it meanwhile, and counts what comes
of it: requests, failures, the versions that answered, and whether the filter's count went on."""

import collections
import http.client
import itertools
import os
import sys
import threading
import time
from pathlib import Path

WEB = int(os.environ.get("WEB_PORT", "8080"))
ADMIN = int(os.environ.get("ADMIN_PORT", "34999"))
# Where `cargo xtask demo hot-swap` has put the modules, and the sidecar reads the filter.
FOLDER = Path(os.environ.get("DEMO_FOLDER", Path(__file__).parents[2] / ".tools/demo/hot-swap"))

HERD = 16  # Clients that begin it, all at once.
CLIENTS = 4
RATE = 50  # Requests a second, of each client.
BETWEEN = float(os.environ.get("BETWEEN", "2.5"))  # Seconds from one swap to the next.


def connect():
    return http.client.HTTPConnection("127.0.0.1", WEB, timeout=10)


class Refused(Exception):
    """The operator is not let do what it wants."""


class Load:
    """Clients on connections of their own, each at a steady rate, and what they saw."""

    def __init__(self):
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self.versions = {"function": collections.Counter(), "filter": collections.Counter()}
        self.last = {}  # When what each version answered last was asked.
        self.settled = 0  # From then on only the version of the last swap is to be seen.
        self.counts = []
        self.requests = 0
        self.failures = []
        self.clients = [threading.Thread(target=self.client, daemon=True) for _ in range(CLIENTS)]

    def __enter__(self):
        for client in self.clients:
            client.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        for client in self.clients:
            client.join(timeout=20)

    def client(self):
        connection = connect()
        due = time.monotonic()
        while not self.ended.wait(max(0, due - time.monotonic())):
            due = max(due + 1 / RATE, time.monotonic() - 1)
            self.ask(connection)

    def ask(self, connection, meanwhile=lambda: None):
        """Something may be done before the answer is read."""
        asked = time.monotonic()
        try:
            connection.request("GET", "/")
            meanwhile()
            answer = connection.getresponse()
            self.saw(asked, answer.status, answer.read().decode(), answer.headers)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            self.failed(repr(error))

    def saw(self, asked, status, body, headers):
        stamp, count = headers["x-stamp"], headers["x-count"]
        if status != 200 or body not in ("1", "2") or stamp not in ("1", "2") or count is None:
            return self.failed(f"{status} {body!r}, stamped {stamp!r} and {count!r}")
        with self.lock:
            self.requests += 1
            self.counts.append(int(count))
            for kind, version in (("function", body), ("filter", stamp)):
                self.versions[kind][version] += 1
                self.last[kind, version] = max(asked, self.last.get((kind, version), asked))

    def failed(self, why):
        with self.lock:
            self.requests += 1
            self.failures.append(why)

    def answers(self, kind, version):
        with self.lock:
            return self.versions[kind][version]


def deploy(module):
    operate("PUT", "/functions/answer", module, {"content-type": "application/wasm"})


def roll_back():
    operate("POST", "/functions/answer/rollback")


def operate(method, path, body=None, headers={}):
    connection = http.client.HTTPConnection("127.0.0.1", ADMIN, timeout=60)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    said = answer.read().decode()
    connection.close()
    if answer.status != 200:
        raise Refused(f"{method} {path}: {answer.status} {said}")


def replace(module):
    """The file the sidecar watches, in one step."""
    fresh = FOLDER / ".stamp.new"
    fresh.write_bytes(module)
    fresh.rename(FOLDER / "stamp.wasm")


def swaps():
    answer = (FOLDER / "answer-v2.wasm").read_bytes()
    first = (FOLDER / "stamp.wasm").read_bytes()
    second = (FOLDER / "stamp-v2.wasm").read_bytes()
    return [
        ("the function's version 2 is deployed", "function", "2", lambda: deploy(answer)),
        ("the filter's file is version 2", "filter", "2", lambda: replace(second)),
        ("the function is rolled back", "function", "1", roll_back),
        ("the filter's file is version 1 again", "filter", "1", lambda: replace(first)),
    ]


def show(load, start):
    with load.lock:
        function, stamp = load.versions["function"], load.versions["filter"]
        count = max(load.counts, default=0)
        seconds = f"{time.monotonic() - start:4.1f} s"
        print(
            f"{seconds} {load.requests:9} {len(load.failures):9} {function['1']:9} {function['2']:9}"
            f" {stamp['1']:9} {stamp['2']:9} {count:9}",
            flush=True,
        )


def watch(load, start, seconds):
    """A line every half second."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not load.failures:
        time.sleep(max(0, min(0.5, end - time.monotonic())))
        show(load, start)


def meet(load):
    """The first requests of all, at the same moment: what is wrong with their numbers, if anything is."""
    barrier = threading.Barrier(HERD)

    def first():
        connection = connect()
        barrier.wait(timeout=20)
        load.ask(connection)
        connection.close()

    herd = [threading.Thread(target=first, daemon=True) for _ in range(HERD)]
    for client in herd:
        client.start()
    for client in herd:
        client.join(timeout=30)
    print(f"       {HERD} clients begin at once, and are numbers {sorted(load.counts)}", flush=True)
    return [] if in_turn(load.counts, HERD) else ["those who came first have not a number each"]


def in_turn(counts, expected):
    """Whether none was left out, and none given twice."""
    counts = sorted(counts)
    return len(counts) == expected and all(later == one + 1 for one, later in itertools.pairwise(counts))


def swap(load, start, step):
    """What is wrong with it, if anything is. One client asks before it and reads its answer when it is over: what is seen
    late was not answered late."""
    wrong, connection = [], connect()
    load.ask(connection, meanwhile=lambda: wrong.append(swapped(load, start, step)))
    connection.close()
    return next(filter(None, wrong), None) or late(load, step)


def swapped(load, start, step):
    what, kind, version, change = step
    before, began = load.answers(kind, version), time.monotonic()
    print(f"       {what}", flush=True)
    try:
        change()
    except (OSError, Refused) as error:
        return f"{what}: {error}"
    while load.answers(kind, version) == before:
        if load.failures or time.monotonic() > began + 30:
            return f"{what}: and it never answered"
        time.sleep(0.005)
    print(f"       it answers after {(time.monotonic() - began) * 1000:.0f} ms", flush=True)
    load.settled = time.monotonic() + 1
    watch(load, start, BETWEEN)
    return None


def late(load, step):
    what, kind, version, _ = step
    old = "1" if version == "2" else "2"
    with load.lock:
        if load.last.get((kind, old), 0) > load.settled:
            return f"{what}: and the other one still answered a second later"
    return None


def run(load, start):
    watch(load, start, BETWEEN / 2)
    for step in swaps():
        wrong = swap(load, start, step)
        if wrong or load.failures:
            return [wrong] if wrong else []
    return []


def main():
    print("            requests    failed function 1 function 2  filter 1  filter 2     count")
    start = time.monotonic()
    load = Load()
    wrong = meet(load)
    with load:
        wrong += run(load, start)
    if load.failures:
        show(load, start)
        wrong.append(f"{len(load.failures)} requests failed, the first with {load.failures[0]}")
    if not in_turn(load.counts, load.requests - len(load.failures)):
        wrong.append("the count left numbers out, or had some twice")
    for what in wrong:
        print(f"WRONG {what}")
    if not wrong:
        print(f"{load.requests} requests over four swaps, none failed, each was counted once")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
