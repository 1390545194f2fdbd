"""WebSocket through the proxy, by HTTP/1.1 Upgrade: websocket_client.py PORT"""

import asyncio
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from cases import case, expect, main

URL = f"ws://127.0.0.1:{sys.argv[1]}/chat?room=1"


def client():
    return connect(URL, subprotocols=["chat"], max_size=2**24, compression=None)


@case
async def websocket_echoes_text_and_binary():
    async with client() as connection:
        expect(connection.subprotocol, "chat")
        for message in ["grüße", "", b"\x00\xff" * 1000]:
            await connection.send(message)
            expect(await connection.recv(), message)


@case
async def websocket_large_messages():
    async with client() as connection:
        message = bytes(range(256)) * 32768
        await connection.send(message)
        expect(await connection.recv() == message, True)


@case
async def websocket_server_pushes():
    async with client() as connection:
        await connection.send("push 1000")
        for index in range(1000):
            expect(await connection.recv(), f"message {index}")


@case
async def websocket_ping_is_answered():
    async with client() as connection:
        await asyncio.wait_for(await connection.ping(), 30)


@case
async def websocket_compression_extension():
    async with connect(URL, subprotocols=["chat"], compression="deflate") as connection:
        await connection.send("a" * 10_000)
        expect(await connection.recv(), "a" * 10_000)


@case
async def websocket_close_code_arrives():
    async with client() as connection:
        await connection.send("close 4001")
        try:
            await connection.recv()
            raise AssertionError("still open")
        except ConnectionClosed as closed:
            expect((closed.rcvd.code, closed.rcvd.reason), (4001, "asked to"))


@case
async def websocket_fifty_at_once():
    async def one(index):
        async with client() as connection:
            for round in range(20):
                await connection.send(f"{index} {round}")
                expect(await connection.recv(), f"{index} {round}")

    await asyncio.gather(*(one(index) for index in range(50)))


main()
