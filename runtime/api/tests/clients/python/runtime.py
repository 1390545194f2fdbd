"""Every RPC of the Layotto dialect through grpcio, with stubs generated from our .proto files.

Usage: python3 runtime.py PORT APP_PORT HTTP_PORT

Expects what layotto.js beside this expects, and the secret store vault; the package `layotto` of the stubs is found by
PYTHONPATH. Exits with 0 when every check held.
"""

import collections
import os
import queue
import sys
import threading
import time
import uuid
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from google.protobuf import empty_pb2
from layotto import (
    appcallback_pb2,
    appcallback_pb2_grpc,
    binding_pb2,
    configuration_pb2,
    file_pb2,
    invoke_pb2,
    lifecycle_pb2,
    lifecycle_pb2_grpc,
    lock_pb2,
    pubsub_pb2,
    runtime_pb2,
    runtime_pb2_grpc,
    secret_pb2,
    sequencer_pb2,
    state_pb2,
)

RUN = f"python-{os.getpid()}-{uuid.uuid4().hex}"
FENCING_TOKEN = "x-outrigger-fencing-token"
# A call that hangs must not hang the program.
LIMIT = 30


def refused(code, call):
    try:
        answer = call()
    except grpc.RpcError as error:
        assert error.code() == code, f"{error.code()} instead of {code}: {error.details()}"
        return error
    raise AssertionError(f"not refused with {code}: {answer}")


def eventually(what, done):
    until = time.monotonic() + LIMIT
    while not done():
        assert time.monotonic() < until, f"{what}: not within {LIMIT} seconds"
        time.sleep(0.02)


class Stub:
    """A stub whose calls end in time."""

    def __init__(self, stub, names):
        for name in names:
            setattr(self, name, self._limited(getattr(stub, name)))
        self.whole = stub

    @staticmethod
    def _limited(call):
        return lambda request: call(request, timeout=LIMIT)


class Requests:
    """What a stream says, one after the other, until it is closed."""

    def __init__(self, *first):
        self.waiting = queue.Queue()
        for request in first:
            self.say(request)

    def say(self, request):
        self.waiting.put(request)

    def close(self):
        self.waiting.put(None)

    def __iter__(self):
        return iter(self.waiting.get, None)


class App(appcallback_pb2_grpc.AppCallbackServicer):
    """The application's side: it answers the sidecar's callbacks."""

    def __init__(self):
        self.lock = threading.Lock()
        self.received = collections.Counter()
        self.events = {}

    def ListTopicSubscriptions(self, request, context):
        topic = appcallback_pb2.TopicSubscription(pubsub_name="events", topic="orders")
        return appcallback_pb2.ListTopicSubscriptionsResponse(subscriptions=[topic])

    def OnTopicEvent(self, event, context):
        data = event.data.decode()
        with self.lock:
            self.received[data] += 1
            self.events[data] = event
            first = self.received[data] == 1
        retry = appcallback_pb2.TopicEventResponse.RETRY
        if first and data == f"{RUN}/7":
            return appcallback_pb2.TopicEventResponse(status=retry)
        if first and data == f"{RUN}/8":
            context.abort(grpc.StatusCode.INTERNAL, "once more, please")
        return appcallback_pb2.TopicEventResponse()

    def times(self, data):
        with self.lock:
            return self.received[data]


class Echo(BaseHTTPRequestHandler):
    """Says what it was asked."""

    protocol_version = "HTTP/1.1"

    def answer(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        text = f"{self.command} {self.path} ".encode() + body
        self.send_response(200)
        self.send_header("content-type", "text/plain")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass


def hello(runtime, lifecycle, _):
    def greet(name, service="hello"):
        request = runtime_pb2.SayHelloRequest(service_name=service, name=name)
        request.data.Pack(empty_pb2.Empty())
        return runtime.SayHello(request)

    answer = greet("eva")
    assert answer.hello == "greeting, eva", answer
    assert answer.data.Is(empty_pb2.Empty.DESCRIPTOR), answer
    refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: greet("eva", "nobody"))

    def apply(greeting):
        config = lifecycle_pb2.ComponentConfig(kind="hellos", name="hello", metadata={"hello": greeting})
        lifecycle.ApplyConfiguration(lifecycle_pb2.DynamicConfiguration(component_config=config))

    apply("goodbye")
    assert greet("eva").hello == "goodbye, eva"
    apply("greeting")
    nothing = lifecycle_pb2.DynamicConfiguration()
    refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: lifecycle.ApplyConfiguration(nothing))


def key(name):
    return f"{RUN}-{name}"


def item(name, value=b"", etag="", **more):
    return state_pb2.StateItem(key=key(name), value=value, etag=state_pb2.Etag(value=etag), **more)


def save(runtime, *items):
    return runtime.SaveState(state_pb2.SaveStateRequest(store_name="state", states=items))


def get(runtime, name):
    return runtime.GetState(state_pb2.GetStateRequest(store_name="state", key=key(name)))


def state(runtime, *_):
    aborted = grpc.StatusCode.ABORTED
    missing = get(runtime, "never")
    assert (missing.data, missing.etag) == (b"", ""), missing
    save(runtime, item("a", b"one"))
    first = get(runtime, "a")
    assert first.data == b"one" and first.etag, first
    save(runtime, item("a", b"two", first.etag))
    refused(aborted, lambda: save(runtime, item("a", b"lost", first.etag)))
    create = state_pb2.StateOptions(concurrency=state_pb2.StateOptions.CONCURRENCY_FIRST_WRITE)
    refused(aborted, lambda: save(runtime, item("a", b"lost", options=create)))

    save(runtime, item("b", b"b"), item("c", b"c"))
    request = state_pb2.GetBulkStateRequest(store_name="state", keys=[key(n) for n in "cxa"], parallelism=2)
    found = runtime.GetBulkState(request).items
    assert [(it.key, it.data) for it in found] == [(key("c"), b"c"), (key("x"), b""), (key("a"), b"two")], found

    def transact(*operations):
        changes = [
            state_pb2.TransactionalStateOperation(operationType=kind, request=change)
            for kind, change in operations
        ]
        request = state_pb2.ExecuteStateTransactionRequest(storeName="state", operations=changes)
        return runtime.ExecuteStateTransaction(request)

    transact(("upsert", item("t", b"t")), ("delete", item("b")))
    assert (get(runtime, "t").data, get(runtime, "b").data) == (b"t", b"")
    half = [("upsert", item("half", b"h")), ("upsert", item("t", b"x", first.etag))]
    refused(aborted, lambda: transact(*half))
    assert get(runtime, "half").data == b"", "a refused transaction left something behind"

    stale = state_pb2.DeleteStateRequest(store_name="state", key=key("a"), etag=state_pb2.Etag(value=first.etag))
    refused(aborted, lambda: runtime.DeleteState(stale))
    runtime.DeleteState(state_pb2.DeleteStateRequest(store_name="state", key=key("a")))
    rest = [item("c"), item("t")]
    runtime.DeleteBulkState(state_pb2.DeleteBulkStateRequest(store_name="state", states=rest))
    assert [get(runtime, n).data for n in "act"] == [b""] * 3
    nowhere = state_pb2.GetStateRequest(store_name="nowhere", key="k")
    refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: runtime.GetState(nowhere))


def lock(runtime, *_):
    kept, given = lock_pb2.LockKeepAliveResponse, lock_pb2.UnlockResponse

    def take(owner, expire=60):
        request = lock_pb2.TryLockRequest(store_name="lock", resource_id=RUN, lock_owner=owner, expire=expire)
        answer, call = runtime.whole.TryLock.with_call(request, timeout=LIMIT)
        token = dict(call.initial_metadata()).get(FENCING_TOKEN)
        assert (token is not None) == answer.success, call.initial_metadata()
        return token and int(token)

    def keep(owner, expire=60):
        request = lock_pb2.LockKeepAliveRequest(
            store_name="lock", resource_id=RUN, lock_owner=owner, expire=expire
        )
        return runtime.LockKeepAlive(request).status

    def give(owner):
        request = lock_pb2.UnlockRequest(store_name="lock", resource_id=RUN, lock_owner=owner)
        return runtime.Unlock(request).status

    old = take("one")
    assert old, "a free lock was refused"
    assert take("two") is None, "two holders"
    assert keep("one") == kept.SUCCESS
    assert keep("two") == kept.LOCK_BELONG_TO_OTHERS
    assert give("two") == given.LOCK_BELONG_TO_OTHERS
    assert give("one") == given.SUCCESS
    assert give("one") == given.LOCK_UNEXIST
    assert keep("one") == kept.LOCK_UNEXIST

    # Kept alive, it outlives its first three seconds; then its time is up.
    new = take("two", 3)
    assert new > old, (new, old)
    assert keep("two", 8) == kept.SUCCESS
    time.sleep(3.5)
    assert take("three") is None, "it was kept alive"

    # The new holder's token lets it write; the old holder's is refused from then on.
    def write(token):
        return save(runtime, item("fenced", str(token).encode(), metadata={"fencingToken": str(token)}))

    write(new)
    refused(grpc.StatusCode.ABORTED, lambda: write(old))
    eventually("the end of a lock's time", lambda: take("three"))
    assert keep("two") == kept.LOCK_BELONG_TO_OTHERS, "it was overtaken"
    assert give("three") == given.SUCCESS
    refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: take("one", 0))


def sequencer(runtime, *_):
    options = sequencer_pb2.SequencerOptions
    for increment in (options.WEAK, options.STRONG):
        request = sequencer_pb2.GetNextIdRequest(
            store_name="ids", key=f"{RUN}-{increment}", options=options(increment=increment)
        )
        given = [runtime.GetNextId(request).next_id for _ in range(10)]
        assert given == list(range(1, 11)), given
    nameless = sequencer_pb2.GetNextIdRequest(store_name="ids")
    refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: runtime.GetNextId(nameless))


def configuration(runtime, *_):
    # Neither group nor label: not every store has them.
    place = {"store_name": "settings", "app_id": "shop"}
    a, b = key("a"), key("b")

    def write(**contents):
        items = [
            configuration_pb2.ConfigurationItem(key=key(name), content=content)
            for name, content in contents.items()
        ]
        runtime.SaveConfiguration(configuration_pb2.SaveConfigurationRequest(items=items, **place))

    def read(*keys):
        request = configuration_pb2.GetConfigurationRequest(keys=keys, **place)
        return [(it.key, it.content) for it in runtime.GetConfiguration(request).items]

    def subscription(*keys):
        return configuration_pb2.SubscribeConfigurationRequest(keys=keys, **place)

    write(a="1", b="2")
    assert read(b, a) == [(b, "2"), (a, "1")], "in the order asked"

    # Two requests on one stream: both keys are watched.
    requests = Requests(subscription(a), subscription(b))
    stream = runtime.whole.SubscribeConfiguration(iter(requests), timeout=60)
    seen, ended = {}, threading.Event()

    def follow():
        for answer in stream:
            assert answer.app_id == "shop", answer
            for it in answer.items:
                seen[it.key] = it.content
        ended.set()

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    version = 2

    def both_seen():
        nonlocal version
        version += 1
        write(a=str(version), b=str(version))
        return seen.get(a) and seen.get(b)

    eventually("changes of both keys", both_seen)
    eventually("the last change", lambda: seen == {a: str(version), b: str(version)})
    runtime.DeleteConfiguration(configuration_pb2.DeleteConfigurationRequest(keys=[a], **place))
    eventually("the deletion", lambda: seen[a] == "")
    requests.close()
    assert ended.wait(LIMIT), "the stream ends well when its client ends its side"
    assert read(a) == [] and len(read(b)) == 1, "a delete takes its key alone"

    wrong = Requests(configuration_pb2.SubscribeConfigurationRequest(store_name="nowhere"))
    stream = runtime.whole.SubscribeConfiguration(iter(wrong), timeout=LIMIT)
    refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: next(stream))
    wrong.close()


def pubsub(runtime, _, app):
    def publish(topic, data, broker="events"):
        request = pubsub_pb2.PublishEventRequest(
            pubsub_name=broker, topic=topic, data=data.encode(), data_content_type="text/plain"
        )
        runtime.PublishEvent(request)

    sent = [f"{RUN}/{number}" for number in range(20)]
    for data in sent:
        publish("orders", data)
    eventually("every event at the callback", lambda: all(app.times(data) for data in sent))
    again = [f"{RUN}/7", f"{RUN}/8"]
    eventually("both that were to come again", lambda: all(app.times(data) > 1 for data in again))
    event = app.events[sent[0]]
    assert (event.pubsub_name, event.topic, event.spec_version) == ("events", "orders", "1.0"), event
    assert event.id and event.data_content_type == "text/plain", event

    refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: publish("t", "x", "nothing"))


def streamed(runtime, *_):
    topic, dead = f"streamed-{RUN}", f"dead-{RUN}"
    outcome = appcallback_pb2.TopicEventResponse

    def subscribe(topic, **more):
        initial = pubsub_pb2.SubscribeTopicEventsRequestInitial(pubsub_name="events", topic=topic, **more)
        requests = Requests(pubsub_pb2.SubscribeTopicEventsRequest(initial_request=initial))
        stream = runtime.whole.SubscribeTopicEvents(iter(requests), timeout=60)
        assert next(stream).HasField("initial_response"), "the first answer confirms"
        return requests, stream

    def settle(requests, event, status):
        processed = pubsub_pb2.SubscribeTopicEventsRequestProcessed(id=event.id, status=outcome(status=status))
        requests.say(pubsub_pb2.SubscribeTopicEventsRequest(event_processed=processed))

    requests, stream = subscribe(topic, dead_letter_topic=dead)
    for data in (b"again", b"good", b"bad"):
        request = pubsub_pb2.PublishEventRequest(
            pubsub_name="events", topic=topic, data=data, data_content_type="text/plain"
        )
        runtime.PublishEvent(request)
    times = collections.Counter()
    while times != {b"again": 2, b"good": 1, b"bad": 1}:
        event = next(stream).event_message
        assert event.topic == topic, event
        times[event.data] += 1
        assert times[event.data] <= 2, times
        if event.data == b"bad":
            settle(requests, event, outcome.DROP)
        elif event.data == b"again" and times[event.data] == 1:
            settle(requests, event, outcome.RETRY)
        else:
            settle(requests, event, outcome.SUCCESS)
    requests.close()
    assert list(stream) == [], "nothing comes after the client's side has ended"

    requests, stream = subscribe(dead)
    buried = next(stream).event_message
    assert buried.data == b"bad" and buried.metadata["deadLetterTopic"] == topic, buried
    settle(requests, buried, outcome.SUCCESS)
    requests.close()
    assert list(stream) == []


def files(runtime, *_):
    name = f"{RUN}/report.txt"
    content = b"line\n" * 60_000

    def put(*pieces):
        first = file_pb2.PutFileRequest(store_name="files", name=name)
        rest = (file_pb2.PutFileRequest(data=piece) for piece in pieces)
        return runtime.whole.PutFile((it for them in ([first], rest) for it in them), timeout=LIMIT)

    def read():
        request = file_pb2.GetFileRequest(store_name="files", name=name)
        return b"".join(piece.data for piece in runtime.whole.GetFile(request, timeout=LIMIT))

    def of(name):
        return file_pb2.FileRequest(store_name="files", name=name)

    put(*(content[at : at + 50_000] for at in range(0, len(content), 50_000)))
    assert read() == content
    assert runtime.GetFileMeta(file_pb2.GetFileMetaRequest(request=of(name))).size == len(content)
    listed = runtime.ListFile(file_pb2.ListFileRequest(request=of(RUN), page_size=10))
    assert [(it.file_name, it.size) for it in listed.files] == [("report.txt", len(content))], listed
    assert not listed.is_truncated, listed
    put(b"short")
    assert read() == b"short", "written again, it is replaced whole"
    runtime.DelFile(file_pb2.DelFileRequest(request=of(name)))
    gone = file_pb2.GetFileMetaRequest(request=of(name))
    refused(grpc.StatusCode.NOT_FOUND, lambda: runtime.GetFileMeta(gone))
    refused(grpc.StatusCode.NOT_FOUND, read)
    outside = file_pb2.GetFileMetaRequest(request=of("../../etc/passwd"))
    refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: runtime.GetFileMeta(outside))


def bindings(runtime, *_):
    request = binding_pb2.InvokeBindingRequest(
        name="web", operation="post", data=b"ping", metadata={"path": "/bound"}
    )
    answer = runtime.InvokeBinding(request)
    assert answer.data == b"POST /bound ping" and answer.metadata["statusCode"] == "200", answer
    for wrong in ({"name": "web", "operation": "fly"}, {"name": "nothing", "operation": "post"}):
        request = binding_pb2.InvokeBindingRequest(**wrong)
        refused(grpc.StatusCode.INTERNAL, lambda: runtime.InvokeBinding(request))


def secrets(runtime, *_):
    def secret(name, store="vault"):
        return runtime.GetSecret(secret_pb2.GetSecretRequest(store_name=store, key=name)).data

    assert dict(secret("db-password")) == {"db-password": "swordfish"}
    bulk = runtime.GetBulkSecret(secret_pb2.GetBulkSecretRequest(store_name="vault")).data
    assert bulk["db-password"].secrets["db-password"] == "swordfish", bulk
    refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: secret("k", "nowhere"))
    error = refused(grpc.StatusCode.NOT_FOUND, lambda: secret("never"))
    assert "swordfish" not in error.details()


def invoke(runtime, *_):
    def ask(app):
        extension = invoke_pb2.HTTPExtension(verb=invoke_pb2.HTTPExtension.POST, querystring="q=1")
        message = invoke_pb2.CommonInvokeRequest(
            method="/hello", content_type="text/plain", http_extension=extension
        )
        message.data.value = b"ping"
        request = invoke_pb2.InvokeServiceRequest(id=app, message=message)
        # Of its own accord the sidecar gives it three seconds.
        patience = [("rpc_request_timeout", str(LIMIT * 1000))]
        return runtime.whole.InvokeService(request, timeout=LIMIT, metadata=patience)

    answer = ask("echo")
    assert answer.data.value == b"POST /hello?q=1 ping", answer
    assert answer.content_type.startswith("text/plain"), answer
    refused(grpc.StatusCode.NOT_FOUND, lambda: ask("nobody"))


STEPS = (
    hello, state, lock, sequencer, configuration, pubsub, streamed, files, bindings, secrets, invoke
)


def serve(app_port, http_port, app):
    callbacks = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
    appcallback_pb2_grpc.add_AppCallbackServicer_to_server(app, callbacks)
    assert callbacks.add_insecure_port(f"127.0.0.1:{app_port}"), f"port {app_port} is taken"
    callbacks.start()
    web = ThreadingHTTPServer(("127.0.0.1", http_port), Echo)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    return callbacks


def main():
    port, app_port, http_port = (int(argument) for argument in sys.argv[1:])
    app = App()
    callbacks = serve(app_port, http_port, app)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        service = runtime_pb2.DESCRIPTOR.services_by_name["Runtime"]
        unary = [it.name for it in service.methods if not (it.client_streaming or it.server_streaming)]
        runtime = Stub(runtime_pb2_grpc.RuntimeStub(channel), unary)
        lifecycle = Stub(lifecycle_pb2_grpc.LifecycleStub(channel), ["ApplyConfiguration"])
        for step in STEPS:
            step(runtime, lifecycle, app)
    callbacks.stop(grace=None)
    print(", ".join(step.__name__ for step in STEPS) + ": held")


if __name__ == "__main__":
    main()
