// Counts the visits of each path.

import * as state from "outrigger:functions/state@0.1.0";
import { bytes, text } from "./outrigger.js";

const STORE = "state";

export const http = {
  handle(request) {
    if (request.method === "DELETE") return forget(request.path);
    return answer(200, `${request.path} was visited ${visit(request.path)} times\n`);
  },
};

// Starts again when somebody else wrote between reading and writing.
function visit(path) {
  for (;;) {
    const found = state.get(STORE, path);
    const visits = found ? Number(text(found.value)) + 1 : 1;
    const options = { ifMatch: found?.etag, firstWrite: !found };
    try {
      state.set(STORE, { key: path, value: bytes(String(visits)), options });
      return visits;
    } catch (error) {
      if (error.payload?.code !== "conflict") throw error;
    }
  }
}

function forget(path) {
  state.delete(STORE, { key: path });
  return answer(200, `${path} is forgotten\n`);
}

function answer(status, message) {
  return { status, headers: [["content-type", "text/plain"]], body: bytes(message) };
}
