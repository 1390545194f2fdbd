"""HTTP/1.1 through the proxy, read by h11: h11_client.py PORT"""

import socket
import sys

import h11

from cases import case, expect, main

PORT = int(sys.argv[1])


class Client:
    def __init__(self):
        self.socket = socket.create_connection(("127.0.0.1", PORT), timeout=10)
        self.state = h11.Connection(h11.CLIENT)

    def send(self, *events):
        for event in events:
            self.socket.sendall(self.state.send(event))

    def next(self):
        while (event := self.state.next_event()) is h11.NEED_DATA:
            self.state.receive_data(self.socket.recv(65536))
        return event

    def answer(self):
        """Informational responses, the response, its body and its trailers."""
        informational, data = [], b""
        while type(event := self.next()) is h11.InformationalResponse:
            informational.append(event)
        response = event
        while type(event := self.next()) is h11.Data:
            data += event.data
        return informational, response, data, dict(event.headers)


def request(method, target, *headers):
    return h11.Request(method=method, target=target, headers=[("host", "localhost"), *headers])


@case
def trailers_of_the_response_arrive():
    client = Client()
    client.send(request("GET", "/t"), h11.EndOfMessage())
    _, response, data, trailers = client.answer()
    expect((response.status_code, data, trailers), (200, b"/t", {b"x-sum": str(sum(b"/t")).encode()}))


@case
def trailers_of_the_request_arrive():
    client = Client()
    client.send(request("POST", "/t", ("transfer-encoding", "chunked"), ("trailer", "x-check")), h11.Data(data=b"abc"))
    client.send(h11.EndOfMessage(headers=[("x-check", "42")]))
    _, response, data, _ = client.answer()
    expect((data, dict(response.headers).get(b"x-trailer-x-check")), (b"abc", b"42"))


@case
def the_connection_survives_many_requests():
    client = Client()
    for index in range(200):
        client.send(request("GET", f"/{index}"), h11.EndOfMessage())
        expect(client.answer()[2], f"/{index}".encode())
        client.state.start_next_cycle()


@case
def a_body_waits_for_100_continue():
    client = Client()
    client.send(request("PUT", "/c", ("content-length", "5"), ("expect", "100-continue")))
    event = client.next()
    expect((type(event), event.status_code), (h11.InformationalResponse, 100))
    client.send(h11.Data(data=b"hello"), h11.EndOfMessage())
    expect(client.answer()[2], b"hello")


@case
def a_refused_expectation_needs_no_body():
    client = Client()
    client.send(request("PUT", "/refuse", ("content-length", "5000000"), ("expect", "100-continue")))
    event = client.next()
    expect((type(event), event.status_code), (h11.Response, 413))


@case
def early_hints_arrive_before_the_response():
    client = Client()
    client.send(request("GET", "/hints"), h11.EndOfMessage())
    informational, response, _, _ = client.answer()
    expect([(i.status_code, dict(i.headers).get(b"link")) for i in informational], [(103, b"</style.css>; rel=preload")])
    expect(response.status_code, 200)


@case
def pipelined_requests_are_answered_in_order():
    with socket.create_connection(("127.0.0.1", PORT), timeout=10) as pipe:
        count = 50
        for index in range(count):
            body = b"x" * index
            head = f"POST /{index} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {index}\r\n"
            close = "connection: close\r\n" if index == count - 1 else ""
            pipe.sendall((head + close + "\r\n").encode() + body)
        data = b""
        while chunk := pipe.recv(65536):
            data += chunk
    state = h11.Connection(h11.CLIENT)
    lengths = []
    for index in range(count):
        # h11 wants to see what was asked before it reads the answer.
        state.send(request("GET", "/", *([("connection", "close")] if index == count - 1 else [])))
        state.send(h11.EndOfMessage())
        if data:
            state.receive_data(data)
            data = b""
            closed = False
        while type(event := state.next_event()) is not h11.EndOfMessage:
            if event is h11.NEED_DATA:
                if closed:
                    raise AssertionError(f"only {index} answers")
                state.receive_data(b"")
                closed = True
            elif type(event) is h11.Response:
                lengths.append(int(dict(event.headers)[b"x-length"]))
        if index < count - 1:
            state.start_next_cycle()
    expect(lengths, list(range(count)))


main()
