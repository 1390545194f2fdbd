"""A proxy that reads whole bodies before it passes them on: what the memory watch must notice.
buffering_proxy.py PORT BACKEND_PORT"""

import sys

import aiohttp
from aiohttp import web

PORT, BACKEND = (int(port) for port in sys.argv[1:3])


async def handle(request):
    body = await request.read()
    async with aiohttp.ClientSession() as session:
        async with session.request(request.method, f"http://127.0.0.1:{BACKEND}/", data=body) as answer:
            return web.Response(status=answer.status, body=await answer.read())


app = web.Application(client_max_size=2**40)
app.router.add_route("*", "/{name:.*}", handle)
web.run_app(app, host="127.0.0.1", port=PORT, print=None)
