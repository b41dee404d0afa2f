// W8t: a TLS echo server.  PORT CERT KEY (node:tls)
import { args } from './common.mjs';
import { readFileSync } from 'node:fs';
import tls from 'node:tls';
const [PORT, CERT, KEY] = args;
tls.createServer({ cert: readFileSync(CERT), key: readFileSync(KEY) }, (s) => {
  s.setNoDelay(true);
  s.on('data', (d) => s.write(d));
  s.on('error', () => {});
}).listen(+PORT, '127.0.0.1');
