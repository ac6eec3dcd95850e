// Runs operations one after the other through urql: those of the argument, or, when
// that has none, those that come on standard input, one JSON object a line.
//
//   {"url": "http://…/graphql", "headers": {…}, "get": bool, "sse": bool,
//    "operations": [{"query": text, "variables": {…}, "count": n}…]}
//
// prints {"id": index of the operation, "data": …, "error": text or null,
// "codes": [extensions.code…]} for each result. A subscription gives count results,
// one if nothing is said, fewer if it ends or fails before; it goes over a WebSocket
// with the headers in connection_init, or by text/event-stream with "sse". "get"
// sends queries by GET.
import { Client, createRequest, fetchExchange, subscriptionExchange } from '@urql/core';
import { getOperationAST, parse } from 'graphql';
import { createClient } from 'graphql-ws';
import { createInterface } from 'node:readline';
import { filter, pipe, take, toAsyncIterable } from 'wonka';
import WebSocket from 'ws';
import { failure, input, print } from './common.mjs';

const { url, headers = {}, get = false, sse = false, operations } = input;

const socket = createClient({
  url: url.replace(/^http/, 'ws'),
  webSocketImpl: WebSocket,
  connectionParams: headers,
  retryAttempts: 0,
});

const client = new Client({
  url,
  fetchOptions: { headers },
  preferGetMethod: get ? 'force' : false,
  fetchSubscriptions: sse,
  exchanges: [
    fetchExchange,
    subscriptionExchange({
      forwardSubscription: ({ query = '', variables }) => ({
        subscribe: ({ next, error, complete }) => ({
          unsubscribe: socket.subscribe({ query, variables }, { next, complete, error: (cause) => error(failure(cause)) }),
        }),
      }),
    }),
  ],
});

// At the end of a subscription urql repeats the last result, with hasNext false.
function isNews({ operation, hasNext, error }) {
  return operation.kind !== 'subscription' || hasNext || error;
}

async function* fromInput() {
  for await (const line of createInterface({ input: process.stdin })) {
    yield JSON.parse(line);
  }
}

// When an operation has its results, urql aborts its fetch, which may be waiting for
// the end of the body still, and nobody is there to be told.
process.on('unhandledRejection', (cause) => {
  if (cause?.name !== 'AbortError') {
    throw cause;
  }
});

let next = 0;
for await (const { query, variables = {}, count = 1 } of operations ?? fromInput()) {
  const id = next++;
  const kind = getOperationAST(parse(query))?.operation ?? 'query';
  const operation = client.createRequestOperation(kind, createRequest(query, variables), { requestPolicy: 'network-only' });
  const results = pipe(client.executeRequestOperation(operation), filter(isNews), take(count), toAsyncIterable);
  for await (const { data, error } of results) {
    print({
      id,
      data: data ?? null,
      error: error ? error.message : null,
      codes: (error?.graphQLErrors ?? []).map(({ extensions }) => extensions?.code ?? null),
    });
    if (error && !data) {
      break; // a subscription that was refused by fetch never ends by itself
    }
  }
}
await socket.dispose();
