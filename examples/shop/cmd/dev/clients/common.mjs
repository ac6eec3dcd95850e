// What the clients share: their input is one JSON object as argument, their output
// one JSON object a line, their commands one JSON object a line on standard input.
import { createInterface } from 'node:readline';

export const input = JSON.parse(process.argv[2]);

export function print(value) {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

// commands hands each line of the standard input to run, and { end: true } at its
// end, so that a client does not outlive the test that started it. It returns what
// stops it, without which the process would wait for another line.
export function commands(run) {
  const lines = createInterface({ input: process.stdin });
  lines.on('line', (line) => run(JSON.parse(line)));
  lines.on('close', () => run({ end: true }));
  return () => {
    lines.removeAllListeners('close').close();
    process.stdin.destroy();
  };
}

// failure gives the end of a connection a message; it comes as an event. The errors
// of GraphQL, a list, and other errors stay what they are.
export function failure(cause) {
  const { code, reason } = cause ?? {};
  return code !== undefined && reason !== undefined ? new Error(`closed: ${code} ${reason}`.trim()) : cause;
}

// errorsOf is what a failed operation is printed with.
export function errorsOf(cause) {
  const known = failure(cause);
  return Array.isArray(known) ? known : [{ message: known?.message ?? String(known) }];
}
