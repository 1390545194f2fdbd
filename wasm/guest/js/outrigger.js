// For functions in JavaScript: texts as the bytes that blocks take, and back. QuickJS, which they run on, has neither
// TextEncoder nor TextDecoder; it has no console either, for which there is outrigger:functions/log.

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
