// Subscribes through graphql-sse, each over a connection of its own ("distinct
// connections").
//
//   {"url": "http://…/graphql", "headers": {…},
//    "subscriptions": [{"query": text, "variables": {…}}…]}
//
// prints what happens as it happens:
//
//   {"event": "connected", "id": index}
//   {"event": "next", "id": index, "value": result}
//   {"event": "error", "id": index, "errors": […], "status": n, "body": text}
//   {"event": "complete", "id": index}                also after "unsubscribe"
//   {"event": "closed"}                               the last line: none is left
//
// where status and body are those of a response that is no stream, and takes the
// commands {"unsubscribe": index}, {"subscribe": {…}}, which gets the next index,
// and {"end": true}.
import { createClient } from 'graphql-sse';
import { commands, errorsOf, input, print } from './common.mjs';

const { url, headers, subscriptions = [] } = input;

const client = createClient({ url, headers, retryAttempts: 0 });
const unsubscribe = [];
let open = 0;

function done(line) {
  print(line);
  open--;
  if (open === 0) {
    stop();
    print({ event: 'closed' });
  }
}

function subscribe(subscription) {
  const id = unsubscribe.length;
  open++;
  unsubscribe.push(
    client.subscribe(
      subscription,
      {
        next: (value) => print({ event: 'next', id, value }),
        async error(cause) {
          const { response } = cause ?? {};
          done({
            event: 'error',
            id,
            errors: errorsOf(cause),
            ...(response && { status: response.status, body: await response.text().catch(() => null) }),
          });
        },
        complete: () => done({ event: 'complete', id }),
      },
      { connected: () => print({ event: 'connected', id }) },
    ),
  );
}

const stop = commands((command) => {
  if (command.subscribe) {
    subscribe(command.subscribe);
  } else if (command.unsubscribe !== undefined) {
    unsubscribe[command.unsubscribe]();
  } else if (command.end) {
    unsubscribe.forEach((end) => end());
  }
});
subscriptions.forEach(subscribe);
