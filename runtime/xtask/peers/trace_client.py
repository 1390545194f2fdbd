"""Traces and metrics as OpenTelemetry's collector shows them: trace_client.py API_PORT WEB_PORT COLLECTOR_LOG

Asks the API and the proxy, once in a sampled trace and once in another, and reads what the collector prints."""

import re
import sys
import time
import urllib.request

import grpc

from cases import case, expect, main

CALLER = "b7ad6b7169203331"
SAMPLED, UNSAMPLED = "0af7651916cd43dd8448eb211c80319c", "11111111111111111111111111111111"


def identity(data):
    return data


def ask(api, web, trace, flags):
    parent = f"00-{trace}-{CALLER}-{flags}"
    with grpc.insecure_channel(f"127.0.0.1:{api}") as channel:
        get = channel.unary_unary("/spec.proto.runtime.v1.Runtime/GetState", identity, identity)
        # GetStateRequest { store_name: "state", key: "k" }
        get(b"\n\x05state\x12\x01k", metadata=[("traceparent", parent)], timeout=10)
    request = urllib.request.Request(f"http://127.0.0.1:{web}/a", headers={"traceparent": parent})
    urllib.request.urlopen(request, timeout=10).read()


def spans(log):
    """Each span the collector printed, as a dictionary of its lines."""
    with open(log, encoding="utf-8") as file:
        blocks = re.split(r"^Span #\d+$", file.read(), flags=re.MULTILINE)[1:]
    return [dict(re.findall(r"^ {4}(\w[\w ]*?) *: (.*)$", block, flags=re.MULTILINE)) for block in blocks]


def below(found, trace, parent, name):
    """The one span of a trace below `parent` whose name begins with `name`."""
    mine = [
        span
        for span in found
        if span["Trace ID"] == trace and span["Parent ID"] == parent and span["Name"].startswith(name)
    ]
    assert len(mine) == 1, f"{len(mine)} spans '{name}' of {trace} below '{parent}' among {len(found)}"
    return mine[0]["ID"]


def wait(what, condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, f"{what}: not within a minute"
        time.sleep(0.05)


@case
def the_collector_gets_four_spans(api, web, log):
    # What is not sampled goes first: were it sent, it would be there before the rest.
    ask(api, web, UNSAMPLED, "00")
    ask(api, web, SAMPLED, "01")
    # The last one may still be half written.
    wait("four spans", lambda: sum("Name" in span for span in spans(log)) >= 4)


@case
def caller_and_call_and_component_are_one_trace(_api, _web, log):
    call = below(spans(log), SAMPLED, CALLER, "spec.proto.runtime.v1.Runtime/GetState")
    below(spans(log), SAMPLED, call, "state.get state")


@case
def caller_and_proxied_request_and_attempt_are_one_trace(_api, _web, log):
    request = below(spans(log), SAMPLED, CALLER, "GET all")
    below(spans(log), SAMPLED, request, "GET")


@case
def what_the_caller_does_not_sample_is_not_exported(_api, _web, log):
    expect([span for span in spans(log) if span["Trace ID"] != SAMPLED], [])


@case
def planted_violation_the_search_notices_a_span_that_is_not_there(_api, _web, log):
    try:
        below(spans(log), UNSAMPLED, CALLER, "")
    except AssertionError:
        return
    raise AssertionError("it was found")


@case
def the_collector_gets_our_metrics(_api, _web, log):
    def there():
        with open(log, encoding="utf-8") as file:
            return "Name: outrigger_block_calls_total" in file.read()

    wait("metrics", there)


main(*sys.argv[1:])
