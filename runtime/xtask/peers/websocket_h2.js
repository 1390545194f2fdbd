// WebSocket through the proxy over HTTP/2, by extended CONNECT (RFC 8441): websocket_h2.js PORT
'use strict';
const http2 = require('node:http2');
const crypto = require('node:crypto');

/** A masked frame, as clients send them (RFC 6455, section 5.2). */
function frame(opcode, payload) {
  const mask = crypto.randomBytes(4);
  const length = payload.length < 126 ? Buffer.from([0x80 | payload.length]) : Buffer.from([0x80 | 126, payload.length >> 8, payload.length & 255]);
  const masked = Buffer.from(payload.map((byte, index) => byte ^ mask[index % 4]));
  return Buffer.concat([Buffer.from([0x80 | opcode]), length, mask, masked]);
}

/** The first complete frame of a buffer, as the server sends them. */
function parse(buffer) {
  if (buffer.length < 2) return null;
  const short = buffer[1] & 127;
  const start = short === 126 ? 4 : 2;
  if (buffer.length < start) return null;
  const length = short === 126 ? buffer.readUInt16BE(2) : short;
  if (buffer.length < start + length) return null;
  return { opcode: buffer[0] & 15, payload: buffer.subarray(start, start + length), size: start + length };
}

const client = http2.connect(`http://127.0.0.1:${process.argv[2]}`);
const fail = (why) => { console.log(`FAILED websocket over http2: ${why}`); process.exit(1); };
setTimeout(() => fail('not within a minute'), 60000).unref();
client.on('error', (error) => fail(error));
client.on('remoteSettings', (settings) => {
  if (!settings.enableConnectProtocol) fail('SETTINGS_ENABLE_CONNECT_PROTOCOL is not set');
  const stream = client.request({
    ':method': 'CONNECT', ':protocol': 'websocket', ':scheme': 'http', ':path': '/chat', ':authority': 'localhost',
    'sec-websocket-version': '13', 'sec-websocket-protocol': 'chat',
  });
  const sent = [Buffer.from('hello'), Buffer.alloc(20000, 'x')];
  let waiting = 0;
  let data = Buffer.alloc(0);
  stream.on('error', fail);
  stream.on('response', (headers) => {
    if (headers[':status'] !== 200) fail(`status ${headers[':status']}`);
    if (headers['sec-websocket-protocol'] !== 'chat') fail('the subprotocol is lost');
    console.log('ok websocket over http2 connects');
    stream.write(frame(1, sent[0]));
  });
  stream.on('data', (chunk) => {
    data = Buffer.concat([data, chunk]);
    for (let got = parse(data); got; got = parse(data)) {
      data = data.subarray(got.size);
      if (got.opcode === 8) { console.log('ok websocket over http2 closes'); process.exit(0); }
      if (!got.payload.equals(sent[waiting])) fail(`message ${waiting} differs`);
      waiting += 1;
      if (waiting < sent.length) stream.write(frame(1, sent[waiting]));
      else { console.log('ok websocket over http2 echoes'); stream.write(frame(8, Buffer.from([3, 232]))); }
    }
  });
});
