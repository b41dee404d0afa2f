// W13: a tree of 100,000 files.  WHAT walk | glob | copy | remove.
import * as fs from 'node:fs/promises';
import { args, now, result } from './common.mjs';

const [WHAT, PATH, TO] = args;
const FILES = 100000;

async function walk(path) { // by hand: a folder at a time, as fs.walk does
  let n = 0;
  for (const entry of await fs.readdir(path, { withFileTypes: true })) {
    if (entry.isDirectory()) n += await walk(`${path}/${entry.name}`);
    else n++;
  }
  return n;
}

const op = {
  walk: () => walk(PATH),
  async glob() {
    let n = 0;
    for await (const _ of fs.glob(`${PATH}/**/*7.txt`)) n++;
    return 10 * n;
  },
  async copy() { await fs.cp(PATH, TO, { recursive: true }); return FILES; },
  async remove() { await fs.rm(PATH, { recursive: true }); return FILES; },
};

const t0 = now();
const n = await op[WHAT]();
const t = now() - t0;
if (n !== FILES) throw new Error(`${n} files`);
result(n, t);
