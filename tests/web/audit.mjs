// Audits a running hub with graphql-http's own list of what GraphQL over HTTP asks of a server.
//
// Usage: TOKEN=… node audit.mjs http://HOST:PORT/graphql
//
// Prints each audit that did not pass and why, then "N passed, M failed". Warnings and notices count as
// failures; so does a list that holds another count of audits than the one that this file was written for.

import { auditServer } from 'graphql-http';

const AUDITS = 61;

const url = process.argv[2];
const token = process.env.TOKEN;
if (!url || !token) {
  console.error('usage: TOKEN=… node audit.mjs http://HOST:PORT/graphql');
  process.exit(2);
}

const fetchFn = (input, init = {}) => {
  const headers = new Headers(init.headers);
  headers.set('authorization', `Bearer ${token}`);
  return fetch(input, { ...init, headers });
};

const results = await auditServer({ url, fetchFn });
const failures = results.filter((result) => result.status !== 'ok');
for (const { id, name, status, reason, response } of failures) {
  console.log(`${status} ${id} ${name}: ${reason}; the answer was ${response.status}`);
}
const passed = results.length - failures.length;
console.log(`${passed} passed, ${failures.length} failed`);
if (results.length !== AUDITS) {
  console.log(`the list holds ${results.length} audits, not ${AUDITS}`);
}
process.exit(passed === AUDITS && results.length === AUDITS ? 0 : 1);
