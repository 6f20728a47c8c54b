// Speaks graphql-transport-ws with a running hub: through graphql-ws's own client, and by hand where a client
// never would.
//
// Usage: TOKEN=… GATEWAY_TOKEN=… REGISTER=… BATCH=… node socket.mjs http://HOST:PORT/graphql
//
// REGISTER is the id of a register, BATCH the input of a gatewaySubmitSwipes that changes it by one swipe.

import assert from 'node:assert/strict';
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';

const url = process.argv[2];
const { TOKEN: token, GATEWAY_TOKEN: gatewayToken, REGISTER: registerId, BATCH: batch } = process.env;
if (!url || !token || !gatewayToken || !registerId || !batch) {
  console.error('usage: TOKEN=… GATEWAY_TOKEN=… REGISTER=… BATCH=… node socket.mjs http://HOST:PORT/graphql');
  process.exit(2);
}
const socketUrl = url.replace(/^http/, 'ws');

// A socket by hand: what it receives waits in line, its close is a promise.
function raw({ protocol = 'graphql-transport-ws', headers = {} } = {}) {
  const socket = new WebSocket(socketUrl, protocol, { headers });
  const waiting = [];
  const takers = [];
  socket.on('message', (data) => {
    const message = JSON.parse(data.toString());
    const taker = takers.shift();
    if (taker) taker.resolve(message);
    else waiting.push(message);
  });
  const closed = new Promise((resolve) => {
    socket.on('close', (code, reason) => {
      for (const taker of takers) taker.reject(new Error(`closed with ${code} ${reason}`));
      resolve({ code, reason: reason.toString() });
    });
  });
  return {
    opened: new Promise((resolve, reject) => {
      socket.on('open', resolve);
      socket.on('error', reject);
    }),
    closed,
    send: (message) => socket.send(typeof message === 'string' || Buffer.isBuffer(message) ? message : JSON.stringify(message)),
    next: () =>
      waiting.length > 0
        ? Promise.resolve(waiting.shift())
        : new Promise((resolve, reject) => takers.push({ resolve, reject })),
    close: () => socket.close(1000),
  };
}

async function ready(options) {
  const socket = raw(options);
  await socket.opened;
  socket.send({ type: 'connection_init', payload: { token } });
  assert.deepEqual(await socket.next(), { type: 'connection_ack' });
  return socket;
}

const subscribe = (id, query, variables) => ({ id, type: 'subscribe', payload: { query, variables } });
const received = 'subscription { swipeReceived { swipeId student { number } } }';

const checks = [];
const check = (name, run) => checks.push({ name, run });

check('a client that never introduces itself is closed with 4408', async () => {
  const socket = raw();
  assert.equal((await socket.closed).code, 4408);
});

check('a wrong token is closed with 4403', async () => {
  const socket = raw();
  await socket.opened;
  socket.send({ type: 'connection_init', payload: { token: 'rollcall_wrong' } });
  assert.equal((await socket.closed).code, 4403);
});

check('no token is closed with 4403', async () => {
  const socket = raw();
  await socket.opened;
  socket.send({ type: 'connection_init' });
  assert.equal((await socket.closed).code, 4403);
});

check('a token in the header of the upgrade is taken', async () => {
  const socket = raw({ headers: { authorization: `Bearer ${token}` } });
  await socket.opened;
  socket.send({ type: 'connection_init' });
  assert.deepEqual(await socket.next(), { type: 'connection_ack' });
  socket.close();
});

check('another sub-protocol is not served', async () => {
  const socket = raw({ protocol: 'graphql-ws' });
  const outcome = await Promise.race([socket.opened.catch(() => 'refused'), socket.closed]);
  if (outcome !== 'refused') assert.equal((await socket.closed).code, 4406);
});

check('an operation before the introduction is closed with 4401', async () => {
  const socket = raw();
  await socket.opened;
  socket.send(subscribe('1', '{ viewer { displayName } }'));
  assert.equal((await socket.closed).code, 4401);
});

check('a second introduction is closed with 4429', async () => {
  const socket = await ready();
  socket.send({ type: 'connection_init', payload: { token } });
  assert.equal((await socket.closed).code, 4429);
});

check('the id of a running operation again is closed with 4409', async () => {
  const socket = await ready();
  socket.send(subscribe('1', received));
  socket.send(subscribe('1', received));
  assert.equal((await socket.closed).code, 4409);
});

check('the id of an operation that was completed may be used again', async () => {
  const socket = await ready();
  socket.send(subscribe('1', received));
  socket.send({ id: '1', type: 'complete' });
  socket.send(subscribe('1', '{ viewer { displayName } }'));
  const answer = await socket.next();
  assert.deepEqual(answer, { type: 'next', id: '1', payload: { data: { viewer: { displayName: 'timetable-sync' } } } });
  assert.deepEqual(await socket.next(), { type: 'complete', id: '1' });
  socket.close();
});

for (const [what, message] of [
  ['what is not JSON', 'hello'],
  ['a binary message', Buffer.from([1, 2, 3])],
  ['an unknown type', { type: 'start', id: '1' }],
  ['an operation without an id', { type: 'subscribe', payload: { query: '{ __typename }' } }],
  ['an operation without a query', { type: 'subscribe', id: '1', payload: {} }],
]) {
  check(`${what} is closed with 4400`, async () => {
    const socket = await ready();
    socket.send(message);
    assert.equal((await socket.closed).code, 4400);
  });
}

check('a ping is answered with a pong, before the introduction too', async () => {
  const socket = raw();
  await socket.opened;
  socket.send({ type: 'ping' });
  assert.deepEqual(await socket.next(), { type: 'pong' });
  socket.close();
});

check('an invalid query is an error message, and the socket goes on', async () => {
  const socket = await ready();
  socket.send(subscribe('1', '{ noSuchField }'));
  const error = await socket.next();
  assert.equal(error.type, 'error');
  assert.equal(error.id, '1');
  assert.match(error.payload[0].message, /noSuchField/);
  socket.send(subscribe('1', '{ __typename }'));
  assert.deepEqual(await socket.next(), { type: 'next', id: '1', payload: { data: { __typename: 'Query' } } });
  assert.deepEqual(await socket.next(), { type: 'complete', id: '1' });
  socket.close();
});

check('a subscription without the right is turned down, and the socket goes on', async () => {
  const socket = await ready();
  socket.send(subscribe('1', 'subscription { gatewayFeed { kind } }'));
  const answer = await socket.next();
  assert.equal(answer.id, '1');
  const errors = answer.type === 'error' ? answer.payload : answer.payload.errors;
  assert.equal(errors[0].extensions.code, 'FORBIDDEN');
  socket.close();
});

check('graphql-ws gets queries, pushes and a clean end', async () => {
  let closed;
  const end = new Promise((resolve) => {
    closed = resolve;
  });
  const client = createClient({
    url: socketUrl,
    webSocketImpl: WebSocket,
    connectionParams: { token },
    lazy: false,
    retryAttempts: 0,
    on: { closed: (event) => closed(event.code) },
    onNonLazyError: () => {},
  });
  const query = (text) =>
    new Promise((resolve, reject) => {
      let value;
      client.subscribe({ query: text }, { next: (v) => (value = v), error: reject, complete: () => resolve(value) });
    });
  const pushed = (text, variables, skipped = 0) => {
    let seen = 0;
    let stop;
    let listens;
    const ready = new Promise((resolve) => {
      listens = resolve;
    });
    const first = new Promise((resolve, reject) => {
      const next = (message) => (seen++ < skipped ? listens() : resolve(message));
      stop = client.subscribe({ query: text, variables }, { next, error: reject, complete: () => resolve() });
    });
    return { ready, first, stop };
  };
  assert.deepEqual(await query('{ viewer { roles } }'), { data: { viewer: { roles: ['INTEGRATION'] } } });
  const swipe = pushed(received);
  const change = pushed(
    `subscription ($id: ID!) { registerChanged(registerId: $id) {
      register { id revision } records { status source student { number } } } }`,
    { id: registerId },
    // The register as it is comes first.
    1,
  );
  await change.ready;
  // Answered behind the other: it listens by then.
  await query('{ viewer { displayName } }');
  const answer = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${gatewayToken}` },
    body: JSON.stringify({
      query: `mutation ($input: GatewaySubmitSwipesInput!) {
        gatewaySubmitSwipes(input: $input) { receipts { outcome } errors { message } } }`,
      variables: { input: JSON.parse(batch) },
    }),
  });
  assert.deepEqual((await answer.json()).data.gatewaySubmitSwipes, { receipts: [{ outcome: 'STORED' }], errors: [] });
  assert.equal((await swipe.first).data.swipeReceived.student.number, 'S00000');
  const { register, records } = (await change.first).data.registerChanged;
  assert.equal(register.id, registerId);
  assert.deepEqual(records, [{ status: 'PRESENT', source: 'READER', student: { number: 'S00000' } }]);
  swipe.stop();
  change.stop();
  await assert.rejects(query('{ noSuchField }'), (errors) => /noSuchField/.test(errors[0].message));
  assert.deepEqual(await query('{ __typename }'), { data: { __typename: 'Query' } });
  await client.dispose();
  assert.equal(await end, 1000);
});

const outcomes = await Promise.all(
  checks.map(({ name, run }) =>
    run().then(
      () => `ok: ${name}`,
      (error) => `FAILED: ${name}: ${error.message ?? JSON.stringify(error)}`,
    ),
  ),
);
for (const outcome of outcomes) console.log(outcome);
const failed = outcomes.filter((outcome) => outcome.startsWith('FAILED')).length;
console.log(`${outcomes.length - failed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
