"""Answers every request with what it read: the header `x-record: METHOD target body-in-hex`."""

import sys


def record(method, target, body):
    # h11 takes no value that ends with a space.
    return f"{method} {target} {body.hex()}".rstrip()


def wsgi(environ, start_response):
    body = environ["wsgi.input"].read()
    target = environ.get("RAW_URI") or environ["REQUEST_URI"]
    start_response("200 OK", [("x-record", record(environ["REQUEST_METHOD"], target, body)), ("content-length", "0")])
    return [b""]


def gunicorn(port):
    from gunicorn.app.base import BaseApplication

    class App(BaseApplication):
        def load_config(self):
            # gthread, because the plain sync worker closes after each request and would see no second one.
            for key, value in {"bind": f"127.0.0.1:{port}", "workers": 1, "threads": 8, "worker_class": "gthread", "keepalive": 5}.items():
                self.cfg.set(key, value)

        def load(self):
            return wsgi

    App().run()


def waitress(port):
    import waitress as server

    server.serve(wsgi, host="127.0.0.1", port=port, threads=8)


def aiohttp(port):
    from aiohttp import web

    async def answer(request):
        text = record(request.method, request.raw_path, await request.read())
        return web.Response(headers={"x-record": text})

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    web.run_app(app, host="127.0.0.1", port=port, print=None)


async def asgi(scope, receive, send):
    body, more = b"", scope["type"] == "http"
    if not more:
        return
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message.get("body", b""), message.get("more_body", False)
    # A query that is there and empty is not told from none.
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    headers = [(b"x-record", record(scope["method"], target.decode("latin-1"), body).encode("latin-1")), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body"})


def uvicorn(parser):
    def serve(port):
        import uvicorn as server

        server.run(asgi, host="127.0.0.1", port=port, http=parser, lifespan="off", log_level="critical")

    return serve


if __name__ == "__main__":
    servers = {"gunicorn": gunicorn, "waitress": waitress, "aiohttp": aiohttp, "h11": uvicorn("h11"), "httptools": uvicorn("httptools")}
    servers[sys.argv[1]](int(sys.argv[2]))
