"""A strict HTTP/1.1 server on h11: trailers both ways, 100-continue on request, and refusals without reading.
h11_server.py PORT"""

import asyncio
import sys

import h11


class Connection:
    def __init__(self, reader, writer):
        self.reader, self.writer, self.state = reader, writer, h11.Connection(h11.SERVER)

    async def send(self, *events):
        for event in events:
            self.writer.write(self.state.send(event))
        await self.writer.drain()

    async def next(self):
        while (event := self.state.next_event()) is h11.NEED_DATA:
            self.state.receive_data(await self.reader.read(65536))
        return event

    async def body(self):
        """The request's body and trailers."""
        data = b""
        while type(event := await self.next()) is h11.Data:
            data += event.data
        return data, [(name, value) for name, value in event.headers]

    async def serve(self):
        while type(request := await self.next()) is h11.Request:
            path = request.target.decode()
            if path.startswith("/refuse"):
                await self.send(h11.Response(status_code=413, headers=[("content-length", "0"), ("connection", "close")]))
                await self.send(h11.EndOfMessage())
                break
            if self.state.they_are_waiting_for_100_continue:
                await asyncio.sleep(0.05)
                await self.send(h11.InformationalResponse(status_code=100, headers=[]))
            if path.startswith("/hints"):
                await self.send(h11.InformationalResponse(status_code=103, headers=[("link", "</style.css>; rel=preload")]))
            data, trailers = await self.body()
            answer = data or path.encode()
            headers = [("transfer-encoding", "chunked"), ("trailer", "x-sum"), ("x-length", str(len(data)))]
            headers += [(b"x-trailer-" + name, value) for name, value in trailers]
            await self.send(h11.Response(status_code=200, headers=headers), h11.Data(data=answer))
            await self.send(h11.EndOfMessage(headers=[("x-sum", str(sum(answer)))]))
            if self.state.our_state is h11.MUST_CLOSE:
                break
            self.state.start_next_cycle()


async def handle(reader, writer):
    try:
        await Connection(reader, writer).serve()
    except (h11.ProtocolError, ConnectionError):
        pass
    finally:
        writer.close()


async def main():
    server = await asyncio.start_server(handle, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


asyncio.run(main())
