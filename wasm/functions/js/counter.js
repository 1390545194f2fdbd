// Counts, and can be called for everything: wasm/functions/README.md says what it does. In Rust and Python it is the same.

import * as log from "outrigger:functions/log@0.1.0";
import * as metrics from "outrigger:functions/metrics@0.1.0";
import * as pubsub from "outrigger:functions/pubsub@0.1.0";
import * as secrets from "outrigger:functions/secrets@0.1.0";
import * as state from "outrigger:functions/state@0.1.0";
import { bytes, logged, text } from "./outrigger.js";

const STORE = "store";

export const http = logged(log, {
  handle(request) {
    const [, place, key] = request.path.split("?")[0].split("/");
    switch (place) {
      case "count":
        return json(200, count(key));
      case "echo":
        return echo(request);
      case "log":
        return said();
      case "trap":
        throw new Error("trapped as told");
      case "stale":
        return json(200, write("stale", 1, { ifMatch: "9", firstWrite: false }));
      default:
        return { status: 404, headers: [], body: bytes("nothing here\n") };
    }
  },
});

export const invoke = logged(log, {
  handle(call) {
    const [place, key] = call.method.split("/");
    switch (place) {
      case "count":
        return { contentType: "application/json", data: bytes(JSON.stringify(count(key))) };
      case "echo":
        return { contentType: call.contentType, data: call.data };
      default:
        throw `there is no ${call.method}`;
    }
  },
});

export const event = logged(log, {
  handle(event) {
    const { key, then } = JSON.parse(text(event.data));
    write(`${event.topic}/${key}`, event.attempt);
    if (then === "retry" && event.attempt < 3) return { tag: "retry" };
    if (then === "trap" && event.attempt < 2) throw new Error("trapped as told");
    return { tag: then === "drop" ? "drop" : "success" };
  },
});

export const schedule = logged(log, {
  handle(tick) {
    increment(`ticks/${tick.name}`);
  },
});

export const binding = logged(log, {
  handle(input) {
    increment(`inputs/${input.binding}`);
  },
});

function json(status, value) {
  return { status, headers: [["content-type", "application/json"]], body: bytes(JSON.stringify(value)) };
}

function echo({ method, path, authority, headers, body }) {
  const answer = json(201, { method, path, authority, headers, body: text(body) });
  answer.headers.push(["x-echo", "one"], ["x-echo", "two"]);
  return answer;
}

function said() {
  log.write("warn", "said in the log");
  metrics.count("said_total", 1);
  return { status: 200, headers: [], body: bytes("said\n") };
}

// Counts, says so to others, and shows that it knows the secret.
function count(key) {
  const count = increment(key);
  pubsub.publish("bus", "counted", bytes(JSON.stringify({ key, count })), "application/json", []);
  const [[, secret]] = secrets.get("vault", "word");
  return { key, count, secret, language: "javascript" };
}

// Starts again when somebody else wrote between reading and writing.
function increment(key) {
  for (;;) {
    const found = state.get(STORE, key);
    const next = found ? JSON.parse(text(found.value)) + 1 : 1;
    try {
      write(key, next, found ? { ifMatch: found.etag } : { firstWrite: true });
      return next;
    } catch (error) {
      if (error.payload?.code !== "conflict") throw error;
    }
  }
}

function write(key, value, options = {}) {
  state.set(STORE, { key, value: bytes(JSON.stringify(value)), options: { firstWrite: false, ...options } });
}
