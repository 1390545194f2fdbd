// For functions in JavaScript: texts as the bytes that blocks take, and back. QuickJS, which they run on, has neither
// TextEncoder nor TextDecoder; it has no console either, for which there is outrigger:functions/log. What a function does
// not catch, it cannot show: that is written here.

/** The UTF-8 of a text. */
export function bytes(text) {
  return Uint8Array.from(unescape(encodeURIComponent(text)), (character) => character.charCodeAt(0));
}

/** The text of UTF-8; throws a URIError when it is none. */
export function text(bytes) {
  let escaped = "";
  for (let at = 0; at < bytes.length; at += PIECE) {
    escaped += escape(String.fromCharCode(...bytes.slice(at, at + PIECE)));
  }
  return decodeURIComponent(escaped);
}

// Arguments of one call.
const PIECE = 4096;

/** A trigger that writes what it throws to `log`, outrigger:functions/log: what it is, and the calls that led to it. */
export function logged(log, trigger) {
  return {
    handle(input) {
      try {
        return trigger.handle(input);
      } catch (error) {
        // A text is an answer: how invocations, schedules and bindings fail.
        if (typeof error !== "string") log.write("error", told(error));
        throw error;
      }
    },
  };
}

/** Lines about what was thrown. The error of a block says nothing itself, but has with it what there is to say. */
function told(error) {
  if (!(error instanceof Error)) return `threw ${shown(error)}`;
  const what = error.payload === undefined ? `${error}` : `${error.name}: ${shown(error.payload)}`;
  return `${what}\n${error.stack}`;
}

/** As JSON, where it can be: a number of 64 bits or a circle cannot. */
function shown(value) {
  try {
    return JSON.stringify(value);
  } catch {
    return String(value);
  }
}
