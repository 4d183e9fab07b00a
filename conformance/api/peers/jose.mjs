// Creates a token with jose for each private key in the folder. The files are named after their algorithms.

import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

// Installed by conformance/api/run.
const jose = await import(pathToFileURL(createRequire(join(process.env.MODULES, 'x.js')).resolve('jose')));
const folder = process.argv[2];
const tokens = {};
const claims = () => new jose.SignJWT({}).setSubject('ann').setExpirationTime('10 min');
for (const name of readdirSync(folder).filter((name) => name.endsWith('.private.pem'))) {
  const alg = name.split('.')[0];
  const key = await jose.importPKCS8(readFileSync(join(folder, name), 'utf8'), alg);
  tokens[alg] = await claims().setProtectedHeader({ alg }).sign(key);
}
const secret = new TextEncoder().encode(process.env.TOKEN_SECRET);
tokens.HS256 = await claims().setProtectedHeader({ alg: 'HS256' }).sign(secret);
console.log(JSON.stringify(tokens));
