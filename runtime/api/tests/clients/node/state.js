// State through @grpc/grpc-js, with stubs loaded from our .proto files.
//
// Usage: node state.js ENDPOINT [STORE]     (ENDPOINT: host:port or unix:/path)
//
// Needs @grpc/grpc-js and @grpc/proto-loader. Exits with 0 when every check held.
'use strict';

const assert = require('node:assert/strict');
const crypto = require('node:crypto');
const path = require('node:path');
// Resolved from the working directory as well, where the packages may be installed.
const load = (name) => require(require.resolve(name, { paths: [__dirname, process.cwd()] }));
const grpc = load('@grpc/grpc-js');
const loader = load('@grpc/proto-loader');

const PROTO = path.join(__dirname, '../../../../../proto');
const OPTIONS = { includeDirs: [PROTO], keepCase: true, longs: String, enums: String, defaults: true };
const types = grpc.loadPackageDefinition(
  loader.loadSync(['layotto/runtime.proto', 'outrigger/v1/actuator.proto'], OPTIONS),
);

/** The unary methods of a client, as functions that return promises. */
function promised(client) {
  return new Proxy({}, {
    get: (_, method) => (request, metadata = new grpc.Metadata()) =>
      new Promise((resolve, reject) => {
        const deadline = Date.now() + 30_000;
        client[method](request, metadata, { deadline }, (error, answer) => (error ? reject(error) : resolve(answer)));
      }),
  });
}

async function refused(code, call, names = '') {
  const error = await call.then((answer) => assert.fail(`not refused: ${JSON.stringify(answer)}`), (error) => error);
  assert.equal(error.code, code, error.message);
  assert.ok(error.details.includes(names), `${names} is not named in ${error.details}`);
  return error;
}

async function state(runtime, store_name) {
  const run = crypto.randomUUID();
  const key = (name) => `js-${run}-${name}`;
  const get = (name) => runtime.GetState({ store_name, key: key(name) });
  const save = (...states) => runtime.SaveState({ store_name, states });
  const item = (name, value, rest = {}) => ({ key: key(name), value: Buffer.from(value), ...rest });

  const missing = await get('never');
  assert.equal(missing.data.length, 0);
  assert.equal(missing.etag, '');

  await save(item('a', 'one'));
  const first = await get('a');
  assert.equal(first.data.toString(), 'one');
  const etag = { value: first.etag };
  await save(item('a', 'two', { etag }));
  const stale = await refused(grpc.status.ABORTED, save(item('a', 'lost', { etag })));
  assert.deepEqual(stale.metadata.get('x-outrigger-reason'), ['conflict']);
  assert.equal((await get('a')).data.toString(), 'two');
  await save(item('a', 'three', { etag: { value: '' } }));
  const concurrency = 'CONCURRENCY_FIRST_WRITE';
  await refused(grpc.status.ABORTED, save(item('a', 'x', { options: { concurrency } })));

  await save(item('b', 'b'), item('c', 'c'), item('d', 'd'));
  const keys = ['d', 'x', 'b', 'c'].map(key);
  const bulk = await runtime.GetBulkState({ store_name, keys, parallelism: 4 });
  assert.deepEqual(bulk.items.map((found) => found.key), keys);
  assert.deepEqual(bulk.items.map((found) => found.data.toString()), ['d', '', 'b', 'c']);

  const transact = (...operations) => runtime.ExecuteStateTransaction({ storeName: store_name, operations });
  await transact(
    { operationType: 'upsert', request: item('t', 't') },
    { operationType: 'delete', request: { key: key('b') } },
  );
  assert.equal((await get('t')).data.toString(), 't');
  assert.equal((await get('b')).etag, '');
  await refused(grpc.status.ABORTED, transact(
    { operationType: 'upsert', request: item('half', 'h') },
    { operationType: 'upsert', request: item('t', 'x', { etag }) },
  ));
  assert.equal((await get('half')).etag, '', 'a refused transaction left something behind');

  await runtime.DeleteState({ store_name, key: key('a'), etag: { value: '' } });
  const states = ['c', 'd', 't'].map((name) => ({ key: key(name) }));
  await runtime.DeleteBulkState({ store_name, states });
  assert.equal((await get('c')).etag, '');

  await Promise.all(Array.from({ length: 200 }, (_, i) => save(item(`many-${i}`, String(i)))));
  const values = await Promise.all(Array.from({ length: 200 }, (_, i) => get(`many-${i}`)));
  values.forEach((found, i) => assert.equal(found.data.toString(), String(i)));
  const many = values.map((_, i) => ({ key: key(`many-${i}`) }));
  await runtime.DeleteBulkState({ store_name, states: many });
}

async function badInput(runtime, store_name) {
  const { INVALID_ARGUMENT, PERMISSION_DENIED } = grpc.status;
  await refused(INVALID_ARGUMENT, runtime.GetState({ store_name: 'no-such-store', key: 'k' }), 'no-such-store');
  await refused(INVALID_ARGUMENT, runtime.GetState({ store_name, key: 'a||b' }), 'a||b');
  const soon = { key: 'k', metadata: { ttlInSeconds: 'soon' } };
  await refused(INVALID_ARGUMENT, runtime.SaveState({ store_name, states: [soon] }), 'ttlInSeconds');
  const page = new grpc.Metadata();
  page.set('origin', 'https://evil.example');
  await refused(PERMISSION_DENIED, runtime.GetState({ store_name, key: 'k' }, page));
}

/** Stores are asked how they are, and may take their time. */
async function up(actuator) {
  const until = Date.now() + 30_000;
  for (;;) {
    const { status } = await actuator.Health({});
    if (status === 'STATUS_UP') return;
    assert.ok(Date.now() < until, `${status} for half a minute`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function main() {
  const [endpoint, store = 'state'] = process.argv.slice(2);
  const credentials = grpc.credentials.createInsecure();
  const runtime = new types.spec.proto.runtime.v1.Runtime(endpoint, credentials);
  const actuator = new types.outrigger.v1.Actuator(endpoint, credentials);
  await state(promised(runtime), store);
  await badInput(promised(runtime), store);
  await up(promised(actuator));
  const { components } = await promised(actuator).Components({});
  assert.ok(components.some((component) => component.name === store));
  runtime.close();
  actuator.close();
  console.log(`grpc-js over ${endpoint}: every check held`);
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
