// Asks a service whether a request may pass, and holds the request meanwhile: not for long with the token `slow`. The
// configuration names its cluster.

export * from "@solo-io/proxy-runtime/proxy"; // What the host calls.
import {
  Context, FilterHeadersStatusValues, GrpcStatusValues, HeaderPair, Headers, RootContext, WasmResultValues,
  continue_request, registerRootContext, send_local_response, stream_context,
} from "@solo-io/proxy-runtime";
import { BufferTypeValues, get_buffer_bytes } from "@solo-io/proxy-runtime/runtime";

class AuthRoot extends RootContext {
  createContext(context_id: u32): Context {
    return new Auth(context_id, this);
  }
}

function pair(name: string, value: string): HeaderPair {
  return new HeaderPair(String.UTF8.encode(name), String.UTF8.encode(value));
}

function refuse(status: u32, text: string, headers: Headers): void {
  send_local_response(status, "", String.UTF8.encode(text), headers, GrpcStatusValues.InvalidCode);
}

class Auth extends Context {
  constructor(context_id: u32, root_context: AuthRoot) {
    super(context_id, root_context);
  }

  onRequestHeaders(_: u32, _end: bool): FilterHeadersStatusValues {
    const token = stream_context.headers.request.get("authorization");
    const question: Headers = [
      pair(":method", "GET"),
      pair(":path", "/check"),
      pair(":authority", "auth.example"),
      pair("authorization", token),
    ];
    const cluster = this.root_context.getConfiguration();
    const patience: u32 = token == "slow" ? 1000 : 10000;
    const asked = this.root_context.httpCall(cluster, question, new ArrayBuffer(0), [], patience, this, decide);
    if (asked != WasmResultValues.Ok) {
      refuse(500, "nobody to ask\n", []);
    }
    return FilterHeadersStatusValues.StopIteration;
  }
}

function decide(_: Context, headers: u32, size: usize, _trailers: u32): void {
  if (headers == 0) {
    refuse(503, "no answer\n", []);
    return;
  }
  const status = stream_context.headers.http_callback.get(":status");
  if (status != "200") {
    refuse(403, "denied\n", [pair("x-auth-status", status)]);
    return;
  }
  const user = get_buffer_bytes(BufferTypeValues.HttpCallResponseBody, 0, size as u32);
  stream_context.headers.request.replace("x-user", String.UTF8.decode(user));
  continue_request();
}

registerRootContext((context_id: u32) => { return new AuthRoot(context_id); }, "auth");
