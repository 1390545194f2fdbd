"""A WebSocket server that echoes; "push N" makes it send N messages, "close CODE" makes it close.
websocket_server.py PORT"""

import asyncio
import sys

from websockets.asyncio.server import serve


async def handle(connection):
    async for message in connection:
        words = message.split() if isinstance(message, str) else []
        if words[:1] == ["push"]:
            for index in range(int(words[1])):
                await connection.send(f"message {index}")
        elif words[:1] == ["close"]:
            await connection.close(int(words[1]), "asked to")
            return
        else:
            await connection.send(message)


async def main():
    async with serve(handle, "127.0.0.1", int(sys.argv[1]), subprotocols=["chat"], max_size=2**24):
        await asyncio.get_running_loop().create_future()


asyncio.run(main())
