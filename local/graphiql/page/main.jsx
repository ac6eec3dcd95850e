import { useState } from 'react';
import { createRoot } from 'react-dom/client';
import { GraphiQL } from 'graphiql';
import { getOperationAST, parse } from 'graphql';
import { createClient } from 'graphql-ws';

import 'graphiql/style.css';
import './page.css';

const endpoint = new URL('/graphql', location.href);

// GraphiQL requests the schema without headers, before its headers editor exists. Until
// the user edits the headers, those of the page's URL apply.
let addressHeaders = parseHeaders(fromAddress().headers);

function fetcher(params, { headers, documentAST } = {}) {
  if (isSubscription(params, documentAST)) {
    return subscribe(params, headers);
  }
  return post(params, headers ?? (params.operationName === 'IntrospectionQuery' ? addressHeaders : undefined));
}

function parseHeaders(text) {
  try {
    return JSON.parse(text ?? 'null') ?? undefined;
  } catch {
    return undefined; // GraphiQL reports it when the user runs a query.
  }
}

function isSubscription({ query, operationName }, document) {
  try {
    return getOperationAST(document ?? parse(query), operationName)?.operation === 'subscription';
  } catch {
    return false; // The server reports syntax errors.
  }
}

async function post(params, headers) {
  const all = new Headers({
    accept: 'application/graphql-response+json, application/json',
    'content-type': 'application/json',
  });
  for (const [name, value] of Object.entries(headers ?? {})) {
    all.set(name, value);
  }
  const response = await fetch(endpoint, { method: 'POST', headers: all, body: JSON.stringify(params) });
  const body = await response.text();
  try {
    return JSON.parse(body);
  } catch {
    return { status: response.status, statusText: response.statusText, body };
  }
}

// A browser cannot set the headers of a WebSocket, so connection_init has them. A
// connection therefore has one set of headers, and each subscription gets its own
// connection. It does not reconnect: that would hide the events missed in between.
function subscribe(params, headers) {
  return {
    subscribe({ next, error, complete }) {
      const url = new URL(endpoint);
      url.protocol = url.protocol.replace('http', 'ws');
      const client = createClient({ url: url.href, connectionParams: headers, retryAttempts: 0 });
      const fail = (cause) => error(cause instanceof CloseEvent ? new Error(closed(cause)) : cause);
      return { unsubscribe: client.subscribe(params, { next, error: fail, complete }) };
    },
  };
}

function closed({ code, reason }) {
  return `the connection was closed: ${code} ${reason}`.trim();
}

// Parameters that are not in the URL are undefined; GraphiQL then restores the user's last
// tabs. Variables belong to their query: with a new query, old ones are not restored.
function fromAddress() {
  const get = (name) => new URLSearchParams(location.search).get(name) ?? undefined;
  const query = get('query');
  return {
    query,
    variables: get('variables') ?? (query === undefined ? undefined : ''),
    headers: get('headers'),
    operationName: get('operationName'),
  };
}

// With an operation name GraphiQL runs that operation and does not offer others. The name
// is therefore removed when the user edits the query or leaves its tab.
function Page({ operationName, ...editors }) {
  const [name, setName] = useState(operationName);
  const forget = () => setName(undefined);
  return (
    <GraphiQL
      {...editors}
      fetcher={fetcher}
      operationName={name}
      shouldPersistHeaders={false}
      onEditHeaders={() => (addressHeaders = undefined)}
      onEditQuery={(query) => query === editors.query || forget()}
      onTabChange={({ tabs, activeTabIndex }) => tabs[activeTabIndex]?.query === editors.query || forget()}
      defaultEditorToolsVisibility={editors.headers === undefined || editors.variables ? true : 'headers'}
    />
  );
}

createRoot(document.getElementById('graphiql')).render(<Page {...fromAddress()} />);
