// W5: COUNT GETs of URL, INFLIGHT in flight, whole bodies.
// LIB: fetch | http
import { args, now, result, check } from './common.mjs';
import process from 'node:process';
const [URL_, COUNT, INFLIGHT, SIZE, LIB] = [args[0], +args[1], +args[2], +args[3], args[4]];
let get;
if (LIB === 'fetch') {
  get = async () => {
    const r = await fetch(URL_);
    check(r.status === 200, 'status');
    return (await r.arrayBuffer()).byteLength;
  };
} else {
  const http = await import('node:http');
  const agent = new http.Agent({ keepAlive: true, maxSockets: INFLIGHT });
  get = () => new Promise((ok, fail) => {
    http.get(URL_, { agent }, (res) => {
      check(res.statusCode === 200, 'status');
      let n = 0;
      res.on('data', (d) => { n += d.length; });
      res.on('end', () => ok(n));
    }).on('error', fail);
  });
}
const t0 = now();
let next = 0, total = 0;
async function worker() {
  while (next < COUNT) {
    next++;
    const n = await get();
    check(n === SIZE, 'size');
    total += n;
  }
}
await Promise.all(Array.from({ length: INFLIGHT }, worker));
const t = now() - t0;
check(total === COUNT * SIZE, 'total');
result(COUNT, t);
process.exit(0);
