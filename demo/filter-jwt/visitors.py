"""Visits the shop of this demo with good tokens and bad ones, and looks at what comes of it. The shop behind the
sidecar, and the service the filter asks about tokens, run here as well: both say what they saw."""

import base64
import hashlib
import hmac
import http.client
import json
import os
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

SECRET = os.environ.get("TOKEN_SECRET", "as secret as a demo can be")
WEB = int(os.environ.get("WEB_PORT", "8080"))
ADMIN = int(os.environ.get("ADMIN_PORT", "34999"))
SHOP = int(os.environ.get("APP_PORT", "9999"))
TOKENS = int(os.environ.get("TOKENS_PORT", "9998"))
# Where `cargo xtask demo filter-jwt` has put the configuration.
FOLDER = Path(os.environ.get("DEMO_FOLDER", Path(__file__).parents[2] / ".tools/demo/filter-jwt"))

seen = []  # The headers of each request that reached the shop.
asked = []  # The tokens the filter asked about.
revoked = set()
away = threading.Event()  # The service that is asked hangs up.
broken = threading.Event()  # It answers 500, whatever it says with it.
slow = threading.Event()  # It takes two seconds.


class Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, body, status=200):
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Shop(Quiet):
    def do_GET(self):
        seen.append({name.lower(): value for name, value in self.headers.items()})
        self.answer(b"welcome\n")


class Tokens(Quiet):
    """RFC 7662: whether a token is still good."""

    def do_POST(self):
        form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
        if away.is_set():
            self.close_connection = True
            return
        token = form["token"][0]
        asked.append(token)
        if slow.is_set():
            time.sleep(2)
        self.answer(json.dumps({"active": token not in revoked}).encode(), 500 if broken.is_set() else 200)


def serve(port, handler):
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def part(content):
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def token(secret=SECRET, alg="HS256", **changed):
    claims = {"sub": "eva", "scope": "read", "aud": "shop", "exp": int(time.time()) + 60} | changed
    signed = ".".join(part(json.dumps(value).encode()) for value in ({"alg": alg, "typ": "JWT"}, claims))
    signature = b"" if alg == "none" else hmac.digest(secret.encode(), signed.encode(), hashlib.sha256)
    return f"{signed}.{part(signature)}"


def tampered():
    """Signed for what eva may do, changed afterwards."""
    head, claims, signature = token().split(".")
    claims = json.loads(base64.urlsafe_b64decode(claims + "==")) | {"sub": "root"}
    return ".".join([head, part(json.dumps(claims).encode()), signature])


def visit(headers):
    return ask(WEB, "GET", "/", headers)


def reload():
    """The sidecar reads its configuration again."""
    return ask(ADMIN, "POST", "/reload")


def ask(port, method, path, headers={}):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode().strip(), answer.headers
    finally:
        connection.close()


class Report:
    wrong = 0

    def step(self, name, expected, headers, reaches=(0, 0)):
        """What is answered, and how many requests the shop and the token service get of it."""
        before = len(seen), len(asked)
        status, said, answer = visit(headers)
        got = len(seen) - before[0], len(asked) - before[1]
        challenged = status == 200 or answer["www-authenticate"] is not None
        self.check(name, f"{status} {said}", (status, said) == expected and got == reaches and challenged)

    def check(self, name, result, right):
        self.wrong += not right
        print(f"{'ok   ' if right else 'WRONG'} {name}: {result}", flush=True)


def bearer(token):
    return {"authorization": f"Bearer {token}"}


def run(report):
    good, both = token(), (1, 1)
    report.step("no token", (401, "there is no token"), {})
    report.step("a password", (401, "it is not a token"), {"authorization": "Basic ZXZhOmV2YQ=="})
    report.step("a good token", (200, "welcome"), bearer(good), both)
    headers = seen[-1] if seen else {}
    claims = {name: value for name, value in headers.items() if name.startswith("x-claim-")}
    report.check("the shop is told who it is", claims, claims == {"x-claim-sub": "eva", "x-claim-scope": "read"})
    report.check("the token stays outside", "authorization" in headers, "authorization" not in headers)

    forged = {"x-claim-sub": "root", "X-Claim-Role": "admin"}
    report.step("a good token and forged claims", (200, "welcome"), bearer(good) | forged, both)
    claims = {name: value for name, value in seen[-1].items() if name.startswith("x-claim-")} if seen else {}
    report.check("the forged ones are gone", claims, claims == {"x-claim-sub": "eva", "x-claim-scope": "read"})

    # A header may have any byte above 0x7f, and need not be text.
    report.step("a token that is no text", (401, "it is not a token"), {"authorization": "Bearer \xff"})
    report.step("a good token, and a header that is no text", (200, "welcome"), bearer(good) | {"x-cat": "\xff"}, both)
    report.check("the shop has that header", seen[-1].get("x-cat") if seen else None, seen and seen[-1].get("x-cat") == "\xff")

    bad = [
        ("an expired token", "it has expired", token(exp=int(time.time()) - 1)),
        ("a token of tomorrow", "it is not valid yet", token(nbf=int(time.time()) + 3600)),
        ("a token for the bank", "it is meant for somebody else", token(aud=["bank", "post"])),
        ("a tampered token", "its signature is wrong", tampered()),
        ("a token signed by somebody else", "its signature is wrong", token(secret="guessed")),
        ("a token signed with nothing", "its signature is wrong", token(secret="")),
        ("a token without a signature", "it is not signed with HS256", token(alg="none")),
        ("half a token", "it is not a token", good.split(".")[0]),
    ]
    for name, why, bad_token in bad:
        report.step(name, (401, why), bearer(bad_token))

    revoked.add(good)
    report.step("the good token, once it is revoked", (401, "it was revoked"), bearer(good), (0, 1))
    report.step("another one of hers", (200, "welcome"), bearer(token(jti="2")), both)
    slow.set()
    report.step("one whose good word takes two seconds", (200, "welcome"), bearer(token(jti="3")), both)
    slow.clear()
    nobody = (503, "nobody can say whether it was revoked")
    broken.set()
    report.step("one whose good word is an error", nobody, bearer(token(jti="4")), (0, 1))
    broken.clear()
    away.set()
    report.step("nobody to ask", nobody, bearer(token()))
    away.clear()
    empty(report)


def empty(report):
    """With no secret everybody could sign: the sidecar stays with the one it has."""
    file = FOLDER / "outrigger.yaml"
    configured = file.read_text()

    def write(text):
        # In one step: the sidecar watches it.
        fresh = FOLDER / ".outrigger.new"
        fresh.write_text(text)
        fresh.rename(file)

    for setting in ("secret", "audience", "introspection"):
        write(re.sub(f"^( *{setting}:).*$", r'\1 ""', configured, flags=re.MULTILINE))
        status, said, _ = reload()
        right = status == 422 and "proxy_on_configure" in said
        report.check(f"a configuration whose {setting} is empty is refused", status, right)
        write(configured)
    report.step("a token signed with nothing, after that", (401, "its signature is wrong"), bearer(token(secret="")))
    report.step("a good token, after that", (200, "welcome"), bearer(token(jti="5")), (1, 1))


def main():
    report = Report()
    serve(SHOP, Shop)
    serve(TOKENS, Tokens)
    run(report)
    print(f"{report.wrong} went wrong" if report.wrong else "everything went as it should")
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
