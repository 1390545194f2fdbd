// Does nothing: the suite has to notice it in the place of each other filter.

export * from "@solo-io/proxy-runtime/proxy"; // What the host calls.
import { Context, RootContext, registerRootContext } from "@solo-io/proxy-runtime";

class Nothing extends RootContext {
  createContext(context_id: u32): Context {
    return new Context(context_id, this);
  }
}

registerRootContext((context_id: u32) => { return new Nothing(context_id); }, "add_header");
registerRootContext((context_id: u32) => { return new Nothing(context_id); }, "auth");
