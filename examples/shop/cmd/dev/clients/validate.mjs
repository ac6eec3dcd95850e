// Holds an SDL file and a server's introspection against each other, as graphql-js
// sees them.
//
//   {"url": "http://…/graphql", "headers": {…}, "sdl": path or URL}
//
// prints {"errors": [text…], "types": n, "equal": bool}, and "difference" with the
// first line that is not the same.
import { readFile } from 'node:fs/promises';
import { buildClientSchema, buildSchema, getIntrospectionQuery, lexicographicSortSchema, printSchema, validateSchema } from 'graphql';
import { input, print } from './common.mjs';

const { url, headers, sdl } = input;

async function readSDL() {
  if (!/^https?:/.test(sdl)) {
    return readFile(sdl, 'utf8');
  }
  const response = await fetch(sdl, { headers });
  if (!response.ok) {
    throw new Error(`${sdl}: ${response.status} ${await response.text()}`);
  }
  return response.text();
}

async function introspect() {
  const query = getIntrospectionQuery({
    specifiedByUrl: true,
    directiveIsRepeatable: true,
    schemaDescription: true,
    inputValueDeprecation: true,
    oneOf: true,
  });
  const response = await fetch(url, {
    method: 'POST',
    headers: { accept: 'application/json', 'content-type': 'application/json', ...headers },
    body: JSON.stringify({ query }),
  });
  const body = await response.text();
  if (!response.ok) {
    throw new Error(`${url}: ${response.status} ${body}`);
  }
  const { data, errors } = JSON.parse(body);
  if (errors) {
    throw new Error(`${url}: ${errors.map(({ message }) => message).join('; ')}`);
  }
  return data;
}

const errors = [];

// schema builds and validates; what is wrong with it is told, prefixed by its name.
async function schema(name, build) {
  try {
    const built = await build();
    errors.push(...validateSchema(built).map(({ message }) => `${name}: ${message}`));
    return built;
  } catch (error) {
    errors.push(`${name}: ${error.message}`);
    return undefined;
  }
}

const text = (built) => (built ? printSchema(lexicographicSortSchema(built)) : '').split('\n');

const declared = await schema('sdl', async () => buildSchema(await readSDL()));
const served = await schema('introspection', async () => buildClientSchema(await introspect()));
const [want, got] = [text(declared), text(served)];
let line = 0;
while (line < want.length && want[line] === got[line]) {
  line++;
}
const equal = Boolean(declared && served) && want.length === got.length && line === want.length;
print({
  errors,
  types: Object.keys(declared?.getTypeMap() ?? {}).filter((name) => !name.startsWith('__')).length,
  equal,
  ...(declared && served && !equal && { difference: { line: line + 1, sdl: want[line] ?? null, introspection: got[line] ?? null } }),
});
