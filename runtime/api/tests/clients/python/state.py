"""State through grpcio, with every stub made from reflection.

Usage: python3 state.py ENDPOINT [STORE]     (ENDPOINT: host:port or unix:/path)

Needs grpcio, grpcio-reflection and protobuf. Exits with 0 when every check held.
"""

import sys
import time
import uuid

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

RUNTIME = "spec.proto.runtime.v1.Runtime"
ACTUATOR = "outrigger.v1.Actuator"
HEALTH = "grpc.health.v1.Health"
# A call that hangs must not hang the program.
LIMIT = 30


class Service:
    """The unary methods of one service, as its server describes them."""

    def __init__(self, channel, pool, name):
        for method in pool.FindServiceByName(name).methods:
            if method.client_streaming or method.server_streaming:
                continue
            request = message_factory.GetMessageClass(method.input_type)
            answer = message_factory.GetMessageClass(method.output_type)
            call = channel.unary_unary(
                f"/{name}/{method.name}",
                request_serializer=request.SerializeToString,
                response_deserializer=answer.FromString,
            )
            setattr(self, method.name, self._method(call, request))

    @staticmethod
    def _method(call, request):
        return lambda metadata=None, **fields: call(request(**fields), timeout=LIMIT, metadata=metadata)


def refused(code, call, names=""):
    try:
        answer = call()
    except grpc.RpcError as error:
        assert error.code() == code, f"{error.code()} instead of {code}: {error.details()}"
        assert names in error.details(), f"{names!r} is not named in {error.details()!r}"
        return error
    raise AssertionError(f"not refused with {code}: {answer}")


def eventually(what, done):
    until = time.monotonic() + LIMIT
    while not done():
        assert time.monotonic() < until, f"{what}: not within {LIMIT} seconds"
        time.sleep(0.05)


def reflects(channel):
    database = ProtoReflectionDescriptorDatabase(channel)
    services = set(database.get_services())
    assert {RUNTIME, ACTUATOR, HEALTH} <= services, services
    # Version 1 has the same messages under another name.
    ask = channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    question = reflection_pb2.ServerReflectionRequest(list_services="")
    answer = next(iter(ask(iter([question]), timeout=LIMIT)))
    assert {service.name for service in answer.list_services_response.service} == services
    return DescriptorPool(database)


def state(runtime, store):
    run = uuid.uuid4().hex
    key = lambda name: f"py-{run}-{name}"
    get = lambda name: runtime.GetState(store_name=store, key=key(name))

    missing = get("never")
    assert (missing.data, missing.etag) == (b"", ""), missing

    runtime.SaveState(store_name=store, states=[{"key": key("a"), "value": b"one"}])
    first = get("a")
    assert first.data == b"one" and first.etag, first

    etag = {"value": first.etag}
    runtime.SaveState(store_name=store, states=[{"key": key("a"), "value": b"two", "etag": etag}])
    stale = [{"key": key("a"), "value": b"lost", "etag": etag}]
    error = refused(grpc.StatusCode.ABORTED, lambda: runtime.SaveState(store_name=store, states=stale))
    assert ("x-outrigger-reason", "conflict") in error.trailing_metadata(), error.trailing_metadata()
    assert get("a").data == b"two"

    empty = [{"key": key("a"), "value": b"three", "etag": {"value": ""}}]
    runtime.SaveState(store_name=store, states=empty)
    create = [{"key": key("a"), "value": b"x", "options": {"concurrency": "CONCURRENCY_FIRST_WRITE"}}]
    refused(grpc.StatusCode.ABORTED, lambda: runtime.SaveState(store_name=store, states=create))

    runtime.SaveState(store_name=store, states=[{"key": key(n), "value": n.encode()} for n in "bcd"])
    bulk = runtime.GetBulkState(store_name=store, keys=[key(n) for n in "dxbc"], parallelism=4)
    assert [item.data for item in bulk.items] == [b"d", b"", b"b", b"c"], bulk
    assert [item.key for item in bulk.items] == [key(n) for n in "dxbc"], bulk

    runtime.ExecuteStateTransaction(
        storeName=store,
        operations=[
            {"operationType": "upsert", "request": {"key": key("t"), "value": b"t"}},
            {"operationType": "delete", "request": {"key": key("b")}},
        ],
    )
    assert get("t").data == b"t" and get("b").data == b""
    half = [
        {"operationType": "upsert", "request": {"key": key("half"), "value": b"h"}},
        {"operationType": "upsert", "request": {"key": key("t"), "value": b"x", "etag": etag}},
    ]
    refused(
        grpc.StatusCode.ABORTED,
        lambda: runtime.ExecuteStateTransaction(storeName=store, operations=half),
    )
    assert get("half").data == b"", "a refused transaction left something behind"

    for name, seconds in (("short", "1"), ("long", "600")):
        lived = [{"key": key(name), "value": b"v", "metadata": {"ttlInSeconds": seconds}}]
        runtime.SaveState(store_name=store, states=lived)
    assert "ttlExpireTime" in get("long").metadata
    eventually("the end of a value with a ttl of a second", lambda: not get("short").data)
    assert get("long").data == b"v"

    big = bytes(range(256)) * 4096
    runtime.SaveState(store_name=store, states=[{"key": key("big"), "value": big}])
    assert get("big").data == big

    runtime.DeleteState(store_name=store, key=key("a"), etag={"value": ""})
    runtime.DeleteState(store_name=store, key=key("a"))
    runtime.DeleteBulkState(store_name=store, states=[{"key": key(n)} for n in ("c", "d", "t", "big", "long")])
    assert get("c").data == b""


def bad_input(runtime, store):
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    refused(invalid, lambda: runtime.GetState(store_name="no-such-store", key="k"), "no-such-store")
    refused(invalid, lambda: runtime.GetState(store_name=store, key="a||b"), "a||b")
    refused(invalid, lambda: runtime.GetState(store_name=store, key=""), "key")
    soon = [{"key": "k", "value": b"v", "metadata": {"ttlInSeconds": "soon"}}]
    refused(invalid, lambda: runtime.SaveState(store_name=store, states=soon), "ttlInSeconds")
    page = [("origin", "https://evil.example")]
    refused(
        grpc.StatusCode.PERMISSION_DENIED,
        lambda: runtime.GetState(metadata=page, store_name=store, key="k"),
    )


def process(health, actuator, store):
    # Stores are asked how they are, and may take their time.
    eventually("SERVING", lambda: health.Check(service="").status == 1)
    eventually("SERVING", lambda: health.Check(service=RUNTIME).status == 1)
    refused(grpc.StatusCode.NOT_FOUND, lambda: health.Check(service="no.such.Service"))
    eventually("up", lambda: actuator.Health().status == 1)
    assert actuator.Info().version
    assert store in {component.name for component in actuator.Components().components}


def main():
    endpoint = sys.argv[1]
    store = sys.argv[2] if len(sys.argv) > 2 else "state"
    with grpc.insecure_channel(endpoint) as channel:
        grpc.channel_ready_future(channel).result(timeout=LIMIT)
        pool = reflects(channel)
        runtime = Service(channel, pool, RUNTIME)
        state(runtime, store)
        bad_input(runtime, store)
        process(Service(channel, pool, HEALTH), Service(channel, pool, ACTUATOR), store)
    print(f"grpcio {grpc.__version__} over {endpoint}: every check held")


if __name__ == "__main__":
    main()
