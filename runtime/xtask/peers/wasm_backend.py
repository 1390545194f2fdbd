"""What filters are tried on and call out to: wasm_backend.py ECHO SERVICES GRPC LINES
A server that says what it was asked, one with the services, a gRPC server, and one that repeats lines."""

import asyncio
import json
import sys

import grpc
import h11

ECHO, SERVICES, GRPC, LINES = sys.argv[1:]
ticks = 0
reports = []


class Connection:
    def __init__(self, reader, writer):
        self.reader, self.writer, self.state = reader, writer, h11.Connection(h11.SERVER)

    async def next(self):
        while (event := self.state.next_event()) is h11.NEED_DATA:
            self.state.receive_data(await self.reader.read(65536))
        return event

    async def send(self, *events):
        for event in events:
            self.writer.write(self.state.send(event))
        await self.writer.drain()

    async def serve(self, answer):
        while type(request := await self.next()) is h11.Request:
            body = b""
            while type(event := await self.next()) is h11.Data:
                body += event.data
            await self.send(*await answer(request, body, event.headers))
            if self.state.our_state is h11.MUST_CLOSE:
                break
            self.state.start_next_cycle()


def server(answer):
    async def handle(reader, writer):
        try:
            await Connection(reader, writer).serve(answer)
        except (h11.ProtocolError, ConnectionError):
            pass
        finally:
            writer.close()

    return handle


def pairs(headers):
    return [[name.decode(), value.decode()] for name, value in headers]


def response(status, body, headers=()):
    headers = [*headers, ("content-length", str(len(body)))]
    return h11.Response(status_code=status, headers=headers), h11.Data(data=body), h11.EndOfMessage()


async def echo(request, body, trailers):
    """Repeats the request, with headers for filters to work on, and trailers for who says so with `te`."""
    said = {"method": request.method.decode(), "target": request.target.decode(), "headers": pairs(request.headers)}
    said |= {"body": body.decode(), "trailers": pairs(trailers)}
    text = json.dumps(said).encode()
    marks = [("x-replaced", "backend"), ("x-removed", "backend"), ("content-type", "application/json")]
    if (b"te", b"trailers") not in request.headers:
        return response(200, text, marks)
    head = h11.Response(status_code=200, headers=[("transfer-encoding", "chunked"), ("trailer", "x-replaced")])
    return head, h11.Data(data=text), h11.EndOfMessage(headers=marks[:2])


async def services(request, body, _):
    global ticks
    path, headers = request.target.decode(), dict(request.headers)
    match path.strip("/").split("/"):
        case ["check"]:
            token = headers.get(b"authorization", b"").decode()
            if token == "slow":
                await asyncio.sleep(60)
            return response(200, b"alice") if token == "good" else response(401, b"who?")
        case ["count", number]:
            return response(200, number.encode())
        case ["revoked", name]:
            return response(200 if name == "revoked" else 404, b"")
        case ["tick"]:
            ticks += 1
            return response(200, str(ticks).encode())
        case ["ticks"]:
            return response(200, str(ticks).encode())
        case ["report", item]:
            reports.append(item)
            return response(200, b"")
        case ["reports"]:
            return response(200, json.dumps(reports).encode())
    return response(400, b"no such service")


async def say(message, context):
    if dict(context.invocation_metadata()).get("x-from") != "filter":
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no metadata")
    if b"secret" in message:
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, "not for you")
    return b"you said " + message


async def chat(messages, context):
    await context.send_initial_metadata((("x-initial", "hello"),))
    async for message in messages:
        yield b"re:" + message
    context.set_trailing_metadata((("x-trailing", "bye"),))


async def lines(reader, writer):
    try:
        while data := await reader.read(65536):
            # One answer for each piece that arrives.
            writer.write(str(len(data)).encode() + b" " + data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def main():
    service = grpc.aio.server()
    methods = {"Say": grpc.unary_unary_rpc_method_handler(say), "Chat": grpc.stream_stream_rpc_method_handler(chat)}
    service.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("filters.Echo", methods),))
    service.add_insecure_port(f"127.0.0.1:{GRPC}")
    await service.start()
    await asyncio.start_server(server(services), "127.0.0.1", int(SERVICES))
    await asyncio.start_server(lines, "127.0.0.1", int(LINES))
    last = await asyncio.start_server(server(echo), "127.0.0.1", int(ECHO))
    await last.serve_forever()


asyncio.run(main())
