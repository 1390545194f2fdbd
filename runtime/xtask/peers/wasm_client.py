"""What each filter of wasm/filters does, seen from outside: wasm_client.py SET WEB LINE FUNCTIONS SERVICES ADMIN API FILTER...
SET names the filters in the report; only the cases of the given filters run. PATIENCE in the environment is how many
seconds a case waits for what should happen."""

import base64
import contextlib
import hashlib
import hmac
import http.client
import json
import os
import re
import socket
import sys
import threading
import time
import urllib.request

import grpc

import cases
from cases import expect, main, until

SET, WEB, LINE, FUNCTIONS, SERVICES, ADMIN, API = sys.argv[1], *map(int, sys.argv[2:8])
FILTERS = sys.argv[8:]
PATIENCE = float(os.environ.get("PATIENCE", "30"))
# An answer that does not come must not hang the program.
LIMIT = 30


def of(*filters):
    """A case of these filters, reported with the name of the set."""

    def register(function):
        if all(name in FILTERS for name in filters):
            function.__name__ = f"{SET} {function.__name__}"
            cases.case(function)
        return function

    return register


class Answer:
    def __init__(self, response):
        self.status, self.headers, self.text = response.status, response.getheaders(), response.read().decode()

    def header(self, name):
        return next((value for key, value in self.headers if key.lower() == name), None)

    def seen(self, name):
        """The values of a header as the backend saw it."""
        return [value for key, value in json.loads(self.text)["headers"] if key == name]

    @property
    def echo(self):
        return json.loads(self.text)


def ask(path, headers=(), method="GET", body=None, **more):
    connection = http.client.HTTPConnection("127.0.0.1", WEB, timeout=LIMIT)
    try:
        connection.request(method, path, body=body, headers=dict(headers), **more)
        return Answer(connection.getresponse())
    finally:
        connection.close()


def pieces(*parts):
    """A body that comes in pieces, each on its own."""
    for part in parts:
        yield part.encode()
        time.sleep(0.05)


def at_once(count, function):
    """Calls a function `count` times side by side and returns what it returned."""
    results, errors = [], []

    def run(index):
        try:
            results.append(function(index))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


def metric(name):
    """The sum over all labels of a metric, or None."""
    with urllib.request.urlopen(f"http://127.0.0.1:{ADMIN}/metrics", timeout=LIMIT) as answer:
        lines = answer.read().decode().splitlines()
    values = [line.rsplit(" ", 1)[1] for line in lines if re.match(rf"(\w+_)?{name}(\{{.*\}})? ", line)]
    return sum(map(float, values)) if values else None


def reaches(name, value):
    until(lambda: metric(name) == value, lambda: f"{name} is {metric(name)}, not {value}", PATIENCE)


@of("add_header")
def headers_are_added_replaced_and_removed_both_ways():
    marks = {"x-added": "client", "x-replaced": "client", "x-removed": "client"}
    answer = ask("/add_header", marks)
    expect(answer.status, 200)
    expect(answer.seen("x-added"), ["client", "hello"])
    expect(answer.seen("x-replaced"), ["hello"])
    expect(answer.seen("x-removed"), [])
    expect([answer.header(name) for name in ("x-added", "x-replaced", "x-removed")], ["hello", "hello", None])


@of("body")
def a_request_body_is_appended_to_prepended_to_and_replaced():
    for edit, expected in (("append", "onetwo-X-"), ("prepend", "-X-onetwo"), ("replace", "-X-"), ("", "onetwo")):
        expect(ask("/body", {"x-edit": edit}, "POST", "onetwo").echo["body"], expected)
        chunked = {"x-edit": edit, "transfer-encoding": "chunked"}
        answer = ask("/body", chunked, "POST", pieces("one", "two"), encode_chunked=True)
        expect(answer.echo["body"], expected)


@of("body")
def a_response_body_is_appended_to_prepended_to_and_replaced():
    plain = ask("/body").text
    for edit in ("append", "prepend", "replace"):
        answer = ask("/body", {"x-edit-response": edit})
        expect(answer.status, 200)
        found = answer.text.replace(f'["x-edit-response", "{edit}"]', "")
        expect(found.startswith("-X-"), edit != "append")
        expect(found.endswith("-X-"), edit != "prepend")
        expect(len(answer.text) > len(plain), edit != "replace")


@of("scan")
def a_word_is_found_over_two_pieces_of_a_body():
    chunked = {"transfer-encoding": "chunked"}
    answer = ask("/scan", chunked, "POST", pieces("take the gol", "d and run"), encode_chunked=True)
    expect((answer.status, answer.text), (403, "refused\n"))
    answer = ask("/scan", chunked, "POST", pieces("take the gol", "f clubs"), encode_chunked=True)
    expect((answer.status, answer.echo["body"]), (200, "take the golf clubs"))


@of("trailers")
def trailers_are_added_replaced_and_removed_both_ways():
    with socket.create_connection(("127.0.0.1", WEB), timeout=LIMIT) as client:
        client.sendall(
            b"POST /trailers HTTP/1.1\r\nhost: localhost\r\nte: trailers\r\nconnection: close, te\r\n"
            b"transfer-encoding: chunked\r\ntrailer: x-replaced, x-removed\r\n\r\n"
            b"3\r\nabc\r\n0\r\nx-replaced: client\r\nx-removed: client\r\n\r\n"
        )
        text = b""
        while data := client.recv(65536):
            text += data
    head, _, rest = text.decode().partition("\r\n\r\n")
    expect(head.split("\r\n")[0], "HTTP/1.1 200 OK")
    sent = json.loads(rest[rest.index("{") : rest.rindex("}") + 1])["trailers"]
    expect(sorted(sent), [["x-added", "hello"], ["x-replaced", "hello"]])
    got = [line for line in rest[rest.rindex("}") + 1 :].split("\r\n") if ":" in line]
    expect(sorted(got), ["x-added: hello", "x-replaced: hello"])


@of("auth")
def a_request_waits_for_the_answer_of_a_service():
    answer = ask("/auth", {"authorization": "good"}, "POST", "hello")
    expect((answer.status, answer.seen("x-user"), answer.echo["body"]), (200, ["alice"], "hello"))
    answer = ask("/auth", {"authorization": "bad"})
    expect((answer.status, answer.header("x-auth-status"), answer.text), (403, "401", "denied\n"))


@of("auth")
def a_call_without_an_answer_fails_within_its_time():
    start = time.monotonic()
    answer = ask("/auth", {"authorization": "slow"})
    # The service says something after a minute.
    expect((answer.status, answer.text), (503, "no answer\n"))
    expect(time.monotonic() - start > 0.9, True)


@of("auth_nowhere")
def a_call_to_an_unknown_cluster_is_refused_at_once():
    answer = ask("/auth_nowhere", {"authorization": "good"})
    expect((answer.status, answer.text), (500, "nobody to ask\n"))


@of("auth")
def many_requests_wait_at_the_same_time():
    tokens = ["good" if index % 3 else "bad" for index in range(60)]
    found = at_once(60, lambda index: (tokens[index], ask("/auth", {"authorization": tokens[index]}).status))
    expect({(token, status) for token, status in found}, {("good", 200), ("bad", 403)})


@of("calls")
def a_response_waits_for_five_answers():
    expect(ask("/calls").header("x-calls"), "0,1,2,3,4")


@of("deny")
def a_filter_answers_instead_of_the_backend():
    expect(ask("/deny").status, 200)
    for where, status in (("request", 418), ("response", 502)):
        answer = ask("/deny", {"x-deny": where})
        expect((answer.status, answer.header("x-denied"), answer.text), (status, "yes", "no"))
        expect(answer.header("x-replaced"), None)


@of("random")
def every_request_has_another_random_number():
    numbers = [ask("/random").seen("x-random") for _ in range(20)]
    expect(all(len(each) == 1 and re.fullmatch("[0-9a-f]{32}", each[0]) for each in numbers), True)
    expect(len({each[0] for each in numbers}), 20)


@of("route")
def a_request_is_sent_elsewhere_by_its_properties():
    answer = ask("/route/a?b=c")
    expect((answer.echo["target"], answer.seen("host")), ("/internal/route/a?b=c", ["inside.example"]))
    expect(answer.header("x-came-by"), "HTTP/1.1")
    expect((answer.header("x-root-id"), answer.header("x-code")), ("route", "200"))
    expect(answer.header("x-unknown"), "true")


@of("metrics")
def metrics_are_counted_and_exported():
    prefix = f"{SET}_filter"
    for index in range(7):
        answer = ask("/metrics", method="POST", body="x" * (index + 1))
        expect(answer.header("x-requests"), str(index + 1))
    reaches(f"{prefix}_requests(_total)?", 7)
    reaches(f"{prefix}_active", 0)
    reaches(f"{prefix}_bytes(_seconds)?_count", 7)


@of("shared_data")
def all_workers_count_together():
    first = int(ask("/shared_data").header("x-count"))
    numbers = at_once(60, lambda _: int(ask("/shared_data").header("x-count")))
    expect(sorted(numbers), list(range(first + 1, first + 61)))


@of("queue_sender", "queue_receiver")
def what_one_plugin_queues_another_takes_once():
    items = [f"{SET}-{index}" for index in range(40)]
    statuses = at_once(40, lambda index: ask("/queue_sender", {"x-visit": items[index]}).status)
    expect(set(statuses), {200})

    def reported():
        with urllib.request.urlopen(f"http://127.0.0.1:{SERVICES}/reports", timeout=LIMIT) as answer:
            return [item for item in json.load(answer) if item.startswith(f"{SET}-")]

    try:
        until(lambda: len(reported()) >= 40, "everything queued is reported", PATIENCE)
    finally:
        expect(sorted(reported()), sorted(items))


@of("tick")
def a_timer_calls_out_without_any_request():
    def ticks():
        with urllib.request.urlopen(f"http://127.0.0.1:{SERVICES}/ticks", timeout=LIMIT) as answer:
            return int(answer.read())

    until(lambda: ticks() >= 3, "the service is called", PATIENCE)
    first = int(ask("/tick").header("x-tick") or "0")
    until(lambda: int(ask("/tick").header("x-tick") or "0") >= first + 5, "five more answers", PATIENCE)


@of("postpone")
def requests_wait_for_the_timer():
    start = time.monotonic()
    answers = at_once(10, lambda index: ask("/postpone", method="POST", body=f"number {index}"))
    took = time.monotonic() - start
    expect([answer.seen("x-postponed") for answer in answers], [["yes"]] * 10)
    expect(sorted(answer.echo["body"] for answer in answers), [f"number {index}" for index in range(10)])
    # One at a tick of 50 ms on each of at most two workers: five ticks, of which the first may be near.
    expect(took > 0.15, True)


@of("postpone")
def who_has_gone_is_not_waited_for():
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", WEB), timeout=LIMIT) as client:
            client.sendall(b"GET /postpone HTTP/1.1\r\nhost: localhost\r\n\r\n")
    expect(ask("/postpone").seen("x-postponed"), ["yes"])


@of("config", "config_empty")
def configurations_of_vm_and_plugin_arrive():
    answer = ask("/config")
    found = (answer.header("x-vm-config"), answer.header("x-plugin-config"))
    expect(found, ("for the vm", "for the plugin"))
    answer = ask("/config_empty")
    expect((answer.header("x-vm-config"), answer.header("x-plugin-config")), ("", ""))


@of("foreign")
def functions_of_the_host_are_called_by_name():
    answer = ask("/foreign", {"x-function": "clear_route_cache"})
    expect((answer.status, answer.header("x-result")), (200, ""))
    answer = ask("/foreign", {"x-function": "no_such_function", "x-argument": "a"})
    expect((answer.status, answer.header("x-result")), (200, "refused"))


def save(store, key, value):
    """SaveStateRequest { store_name, states: [{ key, value }] }, with every part shorter than 128 bytes."""

    def field(number, data):
        return bytes([number << 3 | 2, len(data)]) + data

    request = field(1, store) + field(2, field(1, key) + field(2, value))
    with grpc.insecure_channel(f"127.0.0.1:{API}") as channel:
        channel.unary_unary("/spec.proto.runtime.v1.Runtime/SaveState")(request, timeout=LIMIT)


def function(id, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", FUNCTIONS, timeout=LIMIT)
    try:
        connection.request("POST" if body else "GET", path, body=body, headers={"id": id})
        answer = Answer(connection.getresponse())
        return answer.status, answer.text
    finally:
        connection.close()


@of("functions")
def a_function_asks_another_which_asks_a_store():
    for stock in (b"100", b"99"):
        save(b"state_demo", b"book1", stock)
        told = f"There are {stock.decode()} inventories for book1."
        expect(function("id_1", "/?name=book1"), (200, told))
    expect(function("id_2", "/", "book1"), (200, "99"))
    expect(function("id_1", "/?title=x"), (400, "which book? ?name=..."))
    expect(function("id_3", "/?name=book1")[0], 404)


@of("grpc_call")
def a_grpc_service_is_asked():
    expect(ask("/grpc_call/a").seen("x-grpc"), ["you said /grpc_call/a"])
    answer = ask("/grpc_call/secret")
    expect((answer.status, answer.header("x-grpc-status"), answer.text), (403, "7", "not for you"))


@of("grpc_stream")
def a_grpc_service_is_talked_to():
    expect(ask("/grpc_stream").seen("x-grpc"), ["hello re:one+re:two bye 0"])


def token(secret, **claims):
    def part(value):
        return base64.urlsafe_b64encode(value).rstrip(b"=")

    signed = part(b'{"alg":"HS256","typ":"JWT"}') + b"." + part(json.dumps(claims).encode())
    return (signed + b"." + part(hmac.digest(secret.encode(), signed, hashlib.sha256))).decode()


@of("jwt")
def only_valid_tokens_pass():
    def carry(text):
        return ask("/jwt", {"authorization": f"Bearer {text}"})

    now = int(time.time())
    good = token("swordfish", sub="alice", exp=now + 60, jti="one")
    answer = carry(good)
    expect((answer.status, answer.seen("x-subject"), answer.seen("authorization")), (200, ["alice"], []))
    for text, why in (
        (token("another", sub="alice", exp=now + 60, jti="one"), "wrong signature"),
        (token("swordfish", sub="alice", exp=now - 60, jti="one"), "expired"),
        (token("swordfish", sub="alice", exp=now + 60, jti="revoked"), "revoked"),
        (good.split(".")[0], "not a token"),
    ):
        answer = carry(text)
        expect((answer.status, answer.text), (401, why))
        expect(why in answer.header("www-authenticate"), True)
    expect(ask("/jwt").status, 401)


@contextlib.contextmanager
def line():
    """A connection whose end the filter counts, also for whoever opens the next one: no other may be open."""
    name = f"{SET}_connections(_total)?"

    def quiet():
        # Whoever started the sidecar looked whether somebody listens there, and the end of that counts as well.
        found = metric(name)
        time.sleep(0.2)
        return metric(r'connections_active\{listener="line"\}') == 0 and metric(name) == found

    until(quiet, "nobody else is connected", PATIENCE)
    before = metric(name) or 0
    with socket.create_connection(("127.0.0.1", LINE), timeout=LIMIT) as client:
        yield client
    reaches(name, before + 1)


@of("tcp")
def bytes_of_a_connection_are_held_and_changed():
    with line() as client:
        for part in (b"hel", b"lo\n"):
            client.sendall(part)
            time.sleep(0.05)
        # One piece of six bytes reached the backend; its answer is marked.
        expect(client.recv(100), b"> 6 HELLO\n")
        client.sendall(b"again\n")
        expect(client.recv(100), b"> 6 AGAIN\n")


@of("tcp")
def a_filter_closes_a_connection():
    with line() as client:
        client.sendall(b"bye")
        expect(client.recv(100), b"")


main()
