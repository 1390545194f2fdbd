// Every API of the published Layotto SDK for Node, unmodified, against a sidecar.
//
// Usage: node layotto.js PORT APP_PORT HTTP_PORT
//
// The sidecar listens on 127.0.0.1:PORT, expects the application's callbacks on APP_PORT, and has the components
// hello, state, lock, ids, settings, events, files, web (an HTTP binding to HTTP_PORT) and the app `echo` at
// HTTP_PORT. Exits with 0 when every check held.
'use strict';

const assert = require('node:assert/strict');
const crypto = require('node:crypto');
const http = require('node:http');
// Resolved from the working directory as well, where the packages may be installed.
const load = (name) => require(require.resolve(name, { paths: [__dirname, process.cwd()] }));
const { Client, Server } = load('layotto');
const { status } = load('@grpc/grpc-js');

const run = crypto.randomUUID();
const quiet = { info() {}, warn() {}, error() {} };
const text = (bytes) => Buffer.from(bytes).toString();

async function refused(code, call) {
  const error = await call.then((answer) => assert.fail(`not refused: ${JSON.stringify(answer)}`), (error) => error);
  assert.equal(error.code, code, error.message);
}

/** Waits until `check` gives something, for at most half a minute. */
async function eventually(what, check) {
  const until = Date.now() + 30_000;
  for (;;) {
    const found = await check();
    if (found) return found;
    assert.ok(Date.now() < until, `${what}: not within half a minute`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function hello({ hello }) {
  assert.equal(await hello.sayHello({ serviceName: 'hello' }), 'greeting');
  assert.equal(await hello.sayHello({ serviceName: 'hello', name: 'eva' }), 'greeting, eva');
}

async function state({ state }) {
  const storeName = 'state';
  const key = (name) => `sdk-${run}-${name}`;
  assert.equal(await state.get({ storeName, key: key('never') }), null);
  await state.save({ storeName, states: { key: key('a'), value: 'one' } });
  const first = await state.get({ storeName, key: key('a') });
  assert.equal(text(first.value), 'one');
  assert.notEqual(first.etag, '');
  await state.save({ storeName, states: [{ key: key('a'), value: 'two', etag: first.etag, options: { concurrency: 1, consistency: 2 } }] });
  const stale = { key: key('a'), value: 'lost', etag: first.etag, options: { concurrency: 1, consistency: 2 } };
  await refused(status.ABORTED, state.save({ storeName, states: [stale] }));
  await state.save({ storeName, states: ['b', 'c'].map((name) => ({ key: key(name), value: name })) });
  const found = await state.getBulk({ storeName, keys: ['a', 'b', 'c'].map(key) });
  assert.deepEqual(found.map((item) => text(item.value)).sort(), ['b', 'c', 'two']);
  const operation = (operationType, name, value) => ({ operationType, request: { key: key(name), value } });
  await state.executeTransaction({ storeName, operations: [operation('upsert', 't', 'done'), operation('delete', 'b')] });
  assert.equal(text((await state.get({ storeName, key: key('t') })).value), 'done');
  assert.equal(await state.get({ storeName, key: key('b') }), null);
  await state.delete({ storeName, key: key('a') });
  await state.deleteBulk({ storeName, states: [{ key: key('c') }, { key: key('t') }] });
  assert.equal(await state.get({ storeName, key: key('t') }), null);
}

async function lock({ lock }) {
  const [storeName, resourceId] = ['lock', `sdk-${run}`];
  const take = (lockOwner, expire = 60) => lock.tryLock({ storeName, resourceId, lockOwner, expire });
  const [one, two] = [lock.uuid(), lock.uuid()];
  assert.equal(await take(one), true);
  assert.equal(await take(two), false);
  assert.equal((await lock.unLock({ storeName, resourceId, lockOwner: two })).status, 2, 'belongs to another');
  assert.equal((await lock.unLock({ storeName, resourceId, lockOwner: one })).status, 0);
  assert.equal((await lock.unLock({ storeName, resourceId, lockOwner: one })).status, 1, 'nobody holds it');
  assert.equal(await take(two, 1), true);
  await eventually('a lock of one second', () => take(one));
}

async function sequencer({ sequencer }) {
  const next = async (increment) => BigInt(await sequencer.getNextId({ storeName: 'ids', key: `sdk-${run}-${increment}`, options: { increment } }));
  for (const increment of [0, 1]) {
    const ids = [];
    for (let i = 0; i < 10; i += 1) ids.push(await next(increment));
    assert.deepEqual(ids, [1n, 2n, 3n, 4n, 5n, 6n, 7n, 8n, 9n, 10n]);
  }
}

async function configuration({ configuration }) {
  // Neither group nor label: not every store has them.
  const at = { storeName: 'settings', appId: 'shop' };
  const [a, ab] = ['a', 'ab'].map((name) => `sdk-${run}-${name}`);
  const item = (key, content) => ({ key, content });
  const save = (...items) => configuration.save({ ...at, items });
  const get = async (...keys) => (await configuration.get({ ...at, keys })).map(({ key, content }) => [key, content]);
  await save(item(a, '1'), item(ab, '2'));
  assert.deepEqual(await get(a, ab), [[a, '1'], [ab, '2']]);
  const seen = [];
  const call = configuration.subscribe({ ...at, keys: [a], onData: (items) => seen.push(...items), onClose() {} });
  // The stream says nothing until something changes, so changes are made until one is seen.
  let version = 1;
  await eventually('a change', async () => {
    await save(item(a, `${version += 1}`), item(ab, 'unwatched'));
    return seen.length > 0;
  });
  await eventually('the last change', () => seen.at(-1).content === `${version}`);
  assert.ok(seen.every(({ key }) => key === a), JSON.stringify(seen));
  call.cancel();
  await configuration.delete({ ...at, keys: [a] });
  assert.deepEqual(await get(a, ab), [[ab, 'unwatched']], 'a delete takes its key alone');
  await configuration.delete({ ...at, keys: [ab] });
}

async function pubsub({ pubsub }, received) {
  const topic = 'orders';
  const wanted = Array.from({ length: 20 }, (_, i) => ({ run, order: i }));
  for (const data of wanted) await pubsub.publish({ pubsubName: 'events', topic, data });
  await eventually('every event', () => wanted.every(({ order }) => received.has(order)));
  await eventually('the refused event again', () => received.get(7) > 1);
}

async function files({ file }) {
  const [storeName, name] = ['files', `sdk-${run}/report.txt`];
  const metadata = { FileFlag: '577', FileMode: '420' };
  const content = Buffer.alloc(300_000, 'line\n');
  const read = async () => {
    const pieces = [];
    for await (const piece of await file.get({ storeName, name, metadata })) pieces.push(piece);
    return Buffer.concat(pieces);
  };
  await file.put({ storeName, name, data: content, metadata });
  // The SDK's put returns when the last piece is sent, not when the server has answered.
  await eventually('the file', () => read().then((found) => found.equals(content), () => false));
  const { names } = await file.list({ storeName, name: `sdk-${run}`, metadata });
  assert.equal(names.length, 1, names.join());
  await file.delete({ storeName, name });
  await assert.rejects(read());
}

async function bindings({ binding }) {
  const answer = await binding.invoke({ name: 'web', operation: 'post', data: 'ping', metadata: { path: '/bound' } });
  assert.equal(text(answer.data), 'POST /bound ping');
  assert.equal(answer.metadata.statusCode, '200');
  await assert.rejects(binding.invoke({ name: 'web', operation: 'fly', data: '', metadata: {} }));
}

async function invoke({ invoker }) {
  const answer = await invoker.invoke({ id: 'echo', method: '/hello', httpVerb: 3, data: 'ping' });
  assert.equal(answer.content, 'POST /hello ping');
  await assert.rejects(invoker.invoke({ id: 'nobody', method: '/hello', httpVerb: 1 }));
}

/** Answers with what it was asked. */
function echo(port) {
  const server = http.createServer((request, response) => {
    const pieces = [];
    request.on('data', (piece) => pieces.push(piece));
    request.on('end', () => {
      response.setHeader('content-type', 'text/plain');
      response.end(`${request.method} ${request.url} ${Buffer.concat(pieces)}`);
    });
  });
  return new Promise((resolve) => server.listen(port, '127.0.0.1', () => resolve(server)));
}

async function main() {
  const [port, appPort, httpPort] = process.argv.slice(2);
  const received = new Map();
  const app = new Server(appPort, undefined, { logger: quiet });
  app.pubsub.addPubSubSubscription('events', 'orders');
  app.pubsub.subscribe('events', 'orders', async (data) => {
    if (data.run !== run) return;
    const times = (received.get(data.order) ?? 0) + 1;
    received.set(data.order, times);
    if (data.order === 7 && times === 1) throw new Error('once more, please');
  });
  await app.start();
  const web = await echo(httpPort);
  const client = new Client(port, '127.0.0.1', { logger: quiet });
  for (const check of [hello, state, lock, sequencer, configuration, pubsub, files, bindings, invoke]) {
    await check(client, received);
    console.log(`${check.name}: held`);
  }
  client.close();
  web.close();
  await app.close();
}

main().then(() => process.exit(0), (error) => {
  console.error(error);
  process.exit(1);
});
