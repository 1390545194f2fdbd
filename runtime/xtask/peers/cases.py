"""How the Python peers report: one line for each case, which the suite counts."""

import asyncio
import inspect
import sys
import time
import traceback

_cases = []


def case(function):
    """Registers a function as a case; its docstring or name is what the report says."""
    _cases.append(function)
    return function


def main(*arguments):
    """Runs every case with the given arguments and exits with 1 when one failed."""
    failed = False
    for function in _cases:
        name = function.__name__.replace("_", " ")
        try:
            result = function(*arguments)
            if inspect.isawaitable(result):
                asyncio.run(asyncio.wait_for(result, 60))
            print(f"ok {name}", flush=True)
        except Exception as error:
            failed = True
            traceback.print_exc()
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            print(f"FAILED {name}: {reason}", flush=True)
    sys.exit(1 if failed else 0)


def expect(actual, expected):
    if actual != expected:
        raise AssertionError(f"got {_short(actual)}, expected {_short(expected)}")


def until(condition, what, limit=10.0):
    """Waits for a condition. `what` was waited for: a text, or what makes one when the time is up."""
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what() if callable(what) else what}: not within {limit} s")
        time.sleep(0.002)


def _short(value):
    text = repr(value)
    return text if len(text) < 200 else f"{text[:200]}... ({len(text)} characters)"
