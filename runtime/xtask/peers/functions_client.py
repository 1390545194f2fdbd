"""What the function `counter` of wasm/functions does, seen from outside: functions_client.py LANGUAGE WEB API ADMIN.
LANGUAGE names the cases in the report; some differ by it. PATIENCE in the environment is how many seconds a case waits
for what should happen. The stubs of the Layotto dialect are found by PYTHONPATH."""

import http.client
import json
import os
import sys
import threading
import uuid

import grpc
from google.protobuf import any_pb2
from layotto import invoke_pb2, pubsub_pb2, runtime_pb2_grpc, state_pb2

import cases
from cases import expect, main, until

LANGUAGE, WEB, API, ADMIN = sys.argv[1], *map(int, sys.argv[2:5])
PATIENCE = float(os.environ.get("PATIENCE", "60"))
# A call that hangs must not hang the program; interpreters start in every call.
LIMIT = 30

runtime = runtime_pb2_grpc.RuntimeStub(grpc.insecure_channel(f"127.0.0.1:{API}"))


def of(*languages):
    """A case of these languages, or of all, reported with the language's name."""

    def register(function):
        if not languages or LANGUAGE in languages:
            function.__name__ = f"{LANGUAGE} {function.__name__}"
            cases.case(function)
        return function

    return register


def ask(path, method="GET", headers=(), body=None, port=WEB):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT)
    try:
        connection.request(method, path, body=body, headers=dict(headers))
        response = connection.getresponse()
        return response.status, response.getheaders(), response.read()
    finally:
        connection.close()


def invoke(method, data=b"", content_type="text/plain"):
    message = invoke_pb2.CommonInvokeRequest(
        method=method,
        data=any_pb2.Any(value=data),
        content_type=content_type,
        http_extension=invoke_pb2.HTTPExtension(verb=invoke_pb2.HTTPExtension.POST),
    )
    request = invoke_pb2.InvokeServiceRequest(id="counter", message=message)
    # Of its own accord the sidecar gives it three seconds.
    patience = [("rpc_request_timeout", str(LIMIT * 1000))]
    return runtime.InvokeService(request, timeout=LIMIT, metadata=patience)


def kept(key):
    """What the store has, as the function keeps it: a number, or None."""
    found = runtime.GetState(state_pb2.GetStateRequest(store_name="store", key=key), timeout=LIMIT).data
    return json.loads(found) if found else None


def eventually(key, number):
    until(lambda: kept(key) == number, f"{key} is {number}", PATIENCE)


def publish(key, then=""):
    data = json.dumps({"key": key, "then": then}).encode()
    request = pubsub_pb2.PublishEventRequest(
        pubsub_name="bus", topic="orders", data=data, data_content_type="application/json"
    )
    runtime.PublishEvent(request, timeout=LIMIT)


def fresh(name):
    return f"{name}-{uuid.uuid4().hex}"


def count(key):
    status, headers, body = ask(f"/count/{key}", "POST")
    expect((status, dict(headers).get("content-type")), (200, "application/json"))
    return json.loads(body)


@of()
def counts_over_http():
    key = fresh("http")
    for number in (1, 2, 3):
        expect(count(key), {"key": key, "count": number, "secret": "swordfish", "language": LANGUAGE})
    expect(kept(key), 3)


@of()
def counts_when_it_is_invoked():
    key = fresh("invoke")
    for number in (1, 2):
        answer = invoke(f"count/{key}")
        expect(answer.content_type, "application/json")
        found = json.loads(answer.data.value)
        expect(found, {"key": key, "count": number, "secret": "swordfish", "language": LANGUAGE})


@of()
def sees_what_the_application_wrote():
    key = fresh("shared")
    item = state_pb2.StateItem(key=key, value=b"41")
    runtime.SaveState(state_pb2.SaveStateRequest(store_name="store", states=[item]), timeout=LIMIT)
    expect(count(key)["count"], 42)


@of()
def counts_side_by_side_without_losing_one():
    key, found = fresh("many"), []
    threads = [threading.Thread(target=lambda: found.append(count(key)["count"])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expect(sorted(found), list(range(1, 9)))


@of()
def its_own_publication_comes_back_as_an_event():
    key = fresh("published")
    count(key)
    eventually(f"counted/{key}", 1)


@of()
def echoes_a_request():
    headers = {"x-one": "1", "content-type": "text/plain"}
    status, answered, body = ask("/echo?a=b&c", "PUT", headers, "grüße".encode())
    expect(status, 201)
    expect([value for name, value in answered if name.lower() == "x-echo"], ["one", "two"])
    seen = json.loads(body)
    expect([seen[name] for name in ("method", "path", "body")], ["PUT", "/echo?a=b&c", "grüße"])
    expect(seen["authority"], f"127.0.0.1:{WEB}")
    expect([value for name, value in seen["headers"] if name == "x-one"], ["1"])


@of()
def has_its_own_statuses():
    expect(ask("/nowhere")[0], 404)


@of()
def echoes_a_call():
    data = bytes(range(256))
    answer = invoke("echo", data, "application/x-bytes")
    expect((answer.content_type, answer.data.value), ("application/x-bytes", data))


@of()
def an_error_reaches_who_invoked():
    try:
        invoke("nowhere")
    except grpc.RpcError as error:
        assert "there is no nowhere" in error.details(), error.details()
        return
    raise AssertionError("it succeeded")


@of()
def a_trap_costs_one_call():
    status, _, body = ask("/trap")
    assert status >= 500, status
    assert b"trapped as told" not in body, body
    expect(count(fresh("after"))["count"], 1)


@of()
def an_event_is_handled_once():
    key = fresh("once")
    publish(key)
    eventually(f"orders/{key}", 1)


@of()
def an_event_is_retried_until_it_succeeds():
    key = fresh("retried")
    publish(key, "retry")
    eventually(f"orders/{key}", 3)


@of()
def an_event_that_traps_is_retried():
    key = fresh("trapped")
    publish(key, "trap")
    eventually(f"orders/{key}", 2)


@of()
def a_dropped_event_does_not_come_again():
    dropped, retried = fresh("dropped"), fresh("retried")
    publish(dropped, "drop")
    eventually(f"orders/{dropped}", 1)
    publish(retried, "retry")
    eventually(f"orders/{retried}", 3)
    expect(kept(f"orders/{dropped}"), 1)


@of()
def a_schedule_calls_it_again_and_again():
    until(lambda: (kept("ticks/often") or 0) >= 2, "two ticks", PATIENCE)


@of()
def an_input_binding_calls_it_again_and_again():
    until(lambda: (kept("inputs/clock") or 0) >= 2, "two events", PATIENCE)


def log():
    status, _, body = ask("/functions/counter/logs", port=ADMIN)
    expect(status, 200)
    return body.decode()


@of()
def what_it_writes_is_in_its_log():
    ask("/log")
    said = ["said in the log"] + ([] if LANGUAGE == "javascript" else ["said on stdout", "said on stderr"])
    until(lambda: all(line in log() for line in said), f"{said} in the log", PATIENCE)


@of()
def why_it_trapped_is_in_its_log():
    ask("/trap")
    until(lambda: "trapped as told" in log(), "the message in the log", PATIENCE)


@of()
def the_line_about_a_call_that_trapped_says_why():
    ask("/trap")
    failed = lambda: [line["text"] for line in json.loads(log())["lines"] if line["text"].startswith("a call failed")]
    until(lambda: any("trapped as told" in line for line in failed()), "the message in the line about the call", PATIENCE)


@of()
def what_a_block_refused_is_in_its_log():
    status, _, body = ask("/stale")
    assert status >= 500 and b"stale" not in body, (status, body)
    until(lambda: "the etag is stale" in log(), "the refusal in the log", PATIENCE)


@of("javascript")
def what_it_threw_is_in_its_log_with_the_calls():
    ask("/stale")
    lines = [line["text"] for line in json.loads(log())["lines"] if line["level"] == "error"]
    assert any("at write (/counter.js:" in line for line in lines), lines


@of()
def its_counter_is_a_metric():
    ask("/log")
    text = ask("/metrics", port=ADMIN)[2].decode()
    lines = [line for line in text.splitlines() if line.startswith("said_total{")]
    expect(len(lines), 1)
    assert 'function="counter"' in lines[0] and float(lines[0].split()[-1]) >= 1, lines


@of("javascript")
def a_component_of_wasi_http_serves():
    status, headers, body = ask("/served/a?b=c", "POST", body=b"x" * 100_000)
    expect((status, len(body)), (203, 100_000))
    found = {name.lower(): value for name, value in headers}
    expect((found.get("x-method"), found.get("x-path")), ("POST", "/served/a?b=c"))
    expect(ask("/served/late")[2], b"served\n")


main()
