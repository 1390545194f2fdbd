"""Asks the function of this demo without a pause, replaces it and the filter before it meanwhile, and counts what comes
of it: requests, failures, the versions that answered, and whether the filter's count went on."""

import collections
import http.client
import os
import sys
import threading
import time
from pathlib import Path

WEB = int(os.environ.get("WEB_PORT", "8080"))
ADMIN = int(os.environ.get("ADMIN_PORT", "34999"))
# Where `cargo xtask demo hot-swap` has put the modules, and the sidecar reads the filter.
FOLDER = Path(os.environ.get("DEMO_FOLDER", Path(__file__).parents[2] / ".tools/demo/hot-swap"))

CLIENTS = 4
RATE = 50  # Requests a second, of each client.
BETWEEN = float(os.environ.get("BETWEEN", "2.5"))  # Seconds from one swap to the next.


class Refused(Exception):
    """The operator is not let do what it wants."""


class Load:
    """Clients on connections of their own, each at a steady rate, and what they saw."""

    def __init__(self):
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self.versions = {"function": collections.Counter(), "filter": collections.Counter()}
        self.last = {}  # When each version last answered.
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
        connection = http.client.HTTPConnection("127.0.0.1", WEB, timeout=10)
        due = time.monotonic()
        while not self.ended.wait(max(0, due - time.monotonic())):
            due = max(due + 1 / RATE, time.monotonic() - 1)
            try:
                connection.request("GET", "/")
                answer = connection.getresponse()
                self.saw(answer.status, answer.read().decode(), answer.headers)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                self.failed(repr(error))

    def saw(self, status, body, headers):
        stamp, count = headers["x-stamp"], headers["x-count"]
        if status != 200 or body not in ("1", "2") or stamp not in ("1", "2") or count is None:
            return self.failed(f"{status} {body!r}, stamped {stamp!r} and {count!r}")
        with self.lock:
            self.requests += 1
            self.counts.append(int(count))
            for kind, version in (("function", body), ("filter", stamp)):
                self.versions[kind][version] += 1
                self.last[kind, version] = time.monotonic()

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


def swap(load, start, step):
    """What is wrong with it, if anything is."""
    what, kind, version, change = step
    old = "1" if version == "2" else "2"
    before, began = load.answers(kind, version), time.monotonic()
    print(f"       {what}", flush=True)
    try:
        change()
    except Refused as error:
        return f"{what}: {error}"
    while load.answers(kind, version) == before:
        if load.failures or time.monotonic() > began + 30:
            return f"{what}: and it never answered"
        time.sleep(0.005)
    print(f"       it answers after {(time.monotonic() - began) * 1000:.0f} ms", flush=True)
    settled = time.monotonic() + 1
    watch(load, start, BETWEEN)
    with load.lock:
        late = load.last[kind, old] > settled
    return f"{what}: and the other one still answered a second later" if late else None


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
    with Load() as load:
        wrong = run(load, start)
    if load.failures:
        show(load, start)
        wrong.append(f"{len(load.failures)} requests failed, the first with {load.failures[0]}")
    counts = sorted(load.counts)
    if counts and counts != list(range(counts[0], counts[0] + len(counts))):
        wrong.append("the count left numbers out, or had some twice")
    for what in wrong:
        print(f"WRONG {what}")
    if not wrong:
        print(f"{load.requests} requests over four swaps, none failed, each was counted once")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
