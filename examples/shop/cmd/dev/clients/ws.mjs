// Subscribes through graphql-ws, all over one connection.
//
//   {"url": "http://…/graphql", "headers": of the upgrade request, "connectionParams": {…},
//    "subscriptions": [{"query": text, "variables": {…}}…]}
//
// prints what happens as it happens:
//
//   {"event": "connected", "payload": of connection_ack}
//   {"event": "next", "id": index, "value": result}
//   {"event": "error", "id": index, "errors": […]}    the end of that subscription
//   {"event": "error", "errors": […]}                 of the connection
//   {"event": "complete", "id": index}                also after "unsubscribe"
//   {"event": "closed", "code": n, "reason": text}    the last line
//
// and takes the commands {"unsubscribe": index}, {"subscribe": {…}}, which gets the
// next index, and {"end": true}.
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';
import { commands, errorsOf, input, print } from './common.mjs';

const { url, headers, connectionParams, subscriptions = [] } = input;

class Socket extends WebSocket {
  constructor(address, protocols) {
    super(address, protocols, { headers });
  }
}

const client = createClient({
  url: url.replace(/^http/, 'ws'),
  webSocketImpl: Socket,
  connectionParams,
  lazy: false,
  retryAttempts: 0,
  onNonLazyError() {}, // the events tell it
  on: {
    connected: (_, payload) => print({ event: 'connected', payload }),
    error: (cause) => print({ event: 'error', errors: errorsOf(cause) }),
    closed({ code, reason }) {
      stop();
      // Those who subscribed are told after this one.
      setImmediate(() => print({ event: 'closed', code, reason }));
    },
  },
});

const unsubscribe = [];

function subscribe(subscription) {
  const id = unsubscribe.length;
  unsubscribe.push(
    client.subscribe(subscription, {
      next: (value) => print({ event: 'next', id, value }),
      error: (cause) => print({ event: 'error', id, errors: errorsOf(cause) }),
      complete: () => print({ event: 'complete', id }),
    }),
  );
}

const stop = commands((command) => {
  if (command.subscribe) {
    subscribe(command.subscribe);
  } else if (command.unsubscribe !== undefined) {
    unsubscribe[command.unsubscribe]();
  } else if (command.end) {
    client.dispose();
  }
});
subscriptions.forEach(subscribe);
