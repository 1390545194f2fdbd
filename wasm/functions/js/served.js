// A component of wasi:http, made by the published tool: what it gets it sends back, the body as it comes.

addEventListener("fetch", (event) => event.respondWith(answer(event.request)));

async function answer(request) {
  const { pathname, search } = new URL(request.url);
  if (pathname === "/served/trap") throw new Error("trapped as told");
  if (pathname === "/served/late") await new Promise((resolve) => setTimeout(resolve, 50));
  const headers = { "content-type": "text/plain", "x-method": request.method, "x-path": pathname + search };
  return new Response(request.body ?? "served\n", { status: 203, headers });
}
