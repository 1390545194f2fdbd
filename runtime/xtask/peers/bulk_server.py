"""The far end of the gigabyte: GET / sends BYTES, PUT / counts what it reads, slowly.
bulk_server.py PORT BYTES"""

import asyncio
import sys

from aiohttp import web

PORT, BYTES = int(sys.argv[1]), int(sys.argv[2])
PIECE = b"\xa5" * 262_144


async def down(request):
    response = web.StreamResponse(headers={"content-length": str(BYTES)})
    await response.prepare(request)
    for _ in range(BYTES // len(PIECE)):
        await response.write(PIECE)
    return response


async def up(request):
    await asyncio.sleep(1)
    total = 0
    pause = 32 * 1024 * 1024
    async for piece in request.content.iter_any():
        if total // pause != (total + len(piece)) // pause:
            await asyncio.sleep(0.05)
        total += len(piece)
    return web.Response(text=str(total))


app = web.Application(client_max_size=2**40)
app.add_routes([web.get("/{name:.*}", down), web.put("/{name:.*}", up)])
web.run_app(app, host="127.0.0.1", port=PORT, print=None)
