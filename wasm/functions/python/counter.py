"""Counts, and can be called for everything: wasm/functions/README.md says what it does. In Rust and JavaScript it is the
same."""

import json
import sys

import wit_world.exports
from componentize_py_types import Err
from wit_world.exports.event import Answer_Drop, Answer_Retry, Answer_Success
from wit_world.exports.http import Response
from wit_world.exports.invoke import Answer
from wit_world.imports import log, metrics, pubsub, secrets, state
from wit_world.imports.types import Code

STORE = "store"


class Http(wit_world.exports.Http):
    def handle(self, request):
        match request.path.split("?")[0].split("/"):
            case ["", "count", key]:
                return response(200, count(key))
            case ["", "echo"]:
                return echo(request)
            case ["", "log"]:
                return said()
            case ["", "trap"]:
                raise RuntimeError("trapped as told")
            case ["", "stale"]:
                return response(200, write("stale", 1, if_match="9"))
            case _:
                return Response(404, [], b"nothing here\n")


class Invoke(wit_world.exports.Invoke):
    def handle(self, call):
        match call.method.split("/"):
            case ["count", key]:
                return Answer("application/json", json.dumps(count(key)).encode())
            case ["echo"]:
                return Answer(call.content_type, call.data)
            case _:
                raise Err(f"there is no {call.method}")


class Event(wit_world.exports.Event):
    def handle(self, event):
        order = json.loads(event.data)
        then = order.get("then")
        write(f"{event.topic}/{order['key']}", event.attempt)
        if then == "retry" and event.attempt < 3:
            return Answer_Retry()
        if then == "trap" and event.attempt < 2:
            raise RuntimeError("trapped as told")
        return Answer_Drop() if then == "drop" else Answer_Success()


class Schedule(wit_world.exports.Schedule):
    def handle(self, tick):
        increment(f"ticks/{tick.name}")


class Binding(wit_world.exports.Binding):
    def handle(self, input):
        increment(f"inputs/{input.binding}")


def response(status, value):
    return Response(status, [("content-type", "application/json")], json.dumps(value).encode())


def echo(request):
    seen = {name: getattr(request, name) for name in ("method", "path", "authority", "headers")}
    answer = response(201, {**seen, "body": request.body.decode()})
    answer.headers += [("x-echo", "one"), ("x-echo", "two")]
    return answer


def said():
    print("said on stdout")
    print("said on stderr", file=sys.stderr)
    log.write(log.Level.WARN, "said in the log")
    metrics.count("said_total", 1)
    return Response(200, [], b"said\n")


def count(key):
    """Counts, says so to others, and shows that it knows the secret."""
    counted = increment(key)
    pubsub.publish("bus", "counted", json.dumps({"key": key, "count": counted}).encode(), "application/json", [])
    [(_, secret)] = secrets.get("vault", "word")
    return {"key": key, "count": counted, "secret": secret, "language": "python"}


def increment(key):
    """Starts again when somebody else wrote between reading and writing."""
    while True:
        found = state.get(STORE, key)
        counted = json.loads(found.value) + 1 if found else 1
        try:
            write(key, counted, if_match=found.etag if found else None, first_write=found is None)
            return counted
        except Err as error:
            if error.value.code != Code.CONFLICT:
                raise


def write(key, value, if_match=None, first_write=False):
    options = state.WriteOptions(if_match, first_write, ttl=None, fence=None)
    state.set(STORE, state.Write(key, json.dumps(value).encode(), options))
