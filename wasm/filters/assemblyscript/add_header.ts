// Adds, replaces and removes a header, of the request and of the response.

export * from "@solo-io/proxy-runtime/proxy"; // What the host calls.
import { Context, FilterHeadersStatusValues, RootContext, registerRootContext, stream_context } from "@solo-io/proxy-runtime";

class AddHeaderRoot extends RootContext {
  createContext(context_id: u32): Context {
    return new AddHeader(context_id, this);
  }
}

class AddHeader extends Context {
  constructor(context_id: u32, root_context: AddHeaderRoot) {
    super(context_id, root_context);
  }

  onRequestHeaders(_: u32, _end: bool): FilterHeadersStatusValues {
    const value = this.root_context.getConfiguration();
    const headers = stream_context.headers.request;
    headers.add("x-added", value);
    headers.replace("x-replaced", value);
    headers.remove("x-removed");
    return FilterHeadersStatusValues.Continue;
  }

  onResponseHeaders(_: u32, _end: bool): FilterHeadersStatusValues {
    const value = this.root_context.getConfiguration();
    const headers = stream_context.headers.response;
    headers.add("x-added", value);
    headers.replace("x-replaced", value);
    headers.remove("x-removed");
    return FilterHeadersStatusValues.Continue;
  }
}

registerRootContext((context_id: u32) => { return new AddHeaderRoot(context_id); }, "add_header");
