"""Answers every request with what it read: the header `x-record: METHOD target body-in-hex`."""

import sys


def record(method, target, body):
    return f"{method} {target} {body.hex()}"


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


if __name__ == "__main__":
    {"gunicorn": gunicorn, "waitress": waitress, "aiohttp": aiohttp}[sys.argv[1]](int(sys.argv[2]))
