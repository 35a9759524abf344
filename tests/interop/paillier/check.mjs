// SPDX-License-Identifier: Apache-2.0
// Our Paillier and the npm package paillier-bigint read each other, both ways.
//   npm install   in this folder, once;   node check.mjs PAILLIER_TOOL
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

let paillier;
try {
  paillier = await import('paillier-bigint');
} catch {
  console.log('skipped: paillier-bigint is not installed (npm install in tests/interop/paillier)');
  process.exit(77);
}

const tool = spawn(process.argv[2], { stdio: ['pipe', 'pipe', 'inherit'] });
const answers = createInterface({ input: tool.stdout })[Symbol.asyncIterator]();
async function ask(line) {
  tool.stdin.write(line + '\n');
  const { value, done } = await answers.next();
  if (done) throw new Error('the tool ended');
  return value;
}
const hex = (c) => c.toString(16).padStart(1536, '0');
const big = (text) => BigInt('0x' + text);

function inverse(a, m) {
  let [x, y, r, s] = [a % m, m, 1n, 0n];
  while (x !== 0n) [x, y, r, s] = [y % x, x, s - (y / x) * r, r];
  return ((s % m) + m) % m;
}
function gcd(a, b) {
  return b === 0n ? a : gcd(b, a % b);
}

const [p, q, n] = (await ask('key')).split(' ').map(big);
const key = new paillier.PublicKey(n, n + 1n);
const lambda = ((p - 1n) * (q - 1n)) / gcd(p - 1n, q - 1n);
const own = new paillier.PrivateKey(lambda, inverse(lambda, n), key, p, q);
const signed = (m) => (m > n / 2n ? m - n : m);
const mod = (m) => ((m % n) + n) % n;

let checked = 0;
function same(what, got, expected) {
  if (got !== expected) throw new Error(`${what}: ${got} instead of ${expected}`);
  checked++;
}

const values = [0n, 1n, -1n, 1234567890123456789n, -(2n ** 63n), 2n ** 63n - 1n, 2n ** 126n, -(2n ** 126n)];
for (const v of values) {
  for (let i = 0; i < 2; i++) // by the owner, and by the public key
    same('we encrypt', signed(own.decrypt(big(await ask(`encrypt ${v}`)))), v);
  same('we decrypt', BigInt(await ask(`decrypt ${hex(key.encrypt(mod(v)))}`)), v);
}
const mixed = key.addition(big(await ask('encrypt -70')), key.encrypt(100n), big(await ask('encrypt 12')));
same('a sum', BigInt(await ask(`decrypt ${hex(mixed)}`)), 42n);
same('a multiple', BigInt(await ask(`decrypt ${hex(key.multiply(mixed, 1000n))}`)), 42000n);
tool.stdin.end();
console.log(`${checked} answers agree`);
