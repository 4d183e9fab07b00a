// The npm package as its users get it: its size, its use with bundlers, type checkers and Node, and its README's examples.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { createInterface } from 'node:readline';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';

import { Server } from './server.js';

const require = createRequire(import.meta.url);
const run = promisify(execFile);
const CLIENT = fileURLToPath(new URL('../../clients/js', import.meta.url));
const MODULES = process.env.NODE_PATH;

/** An example that prints too little would wait for ever. */
const WATCHDOG = 120_000;

let directory;
let installed;
let tarball;

before(async () => {
  directory = mkdtempSync(join(tmpdir(), 'offhook-package-'));
  const { stdout } = await run('npm', ['pack', CLIENT, '--json', '--pack-destination', directory], { cwd: directory });
  tarball = join(directory, JSON.parse(stdout)[0].filename);
  await run('tar', ['xzf', tarball, '-C', directory]);
  installed = join(directory, 'node_modules', '@offhook', 'client');
  mkdirSync(dirname(installed), { recursive: true });
  cpSync(join(directory, 'package'), installed, { recursive: true });
  writeFileSync(join(directory, 'package.json'), '{ "type": "module" }\n');
});
after(() => rmSync(directory, { recursive: true, force: true }));

/** Bytes of what a page loads for this code, minified and compressed. What is loaded only when needed is not counted. */
async function weight(contents) {
  const { outputFiles } = await require('esbuild').build({
    stdin: { contents, resolveDir: directory }, bundle: true, minify: true, format: 'esm', target: 'es2022', splitting: true, outdir: 'out', write: false, external: ['react'],
  });
  const entry = outputFiles.find(({ path }) => path.endsWith('stdin.js'));
  // The hooks import the client, which is counted once.
  return gzipSync(entry.text, { level: 9 }).length;
}

test('the client is at most 8.4 KB, and the raw socket at most 3.5 KB', async (t) => {
  const sizes = {
    client: await weight("export { connect } from '@offhook/client'"),
    persist: await weight("export { persist } from '@offhook/client'"),
    raw: await weight("export { ReconnectingWebSocket } from '@offhook/client'"),
    react: await weight("export * from '@offhook/client/react'"),
  };
  t.diagnostic(JSON.stringify(sizes));
  assert.ok(sizes.client <= 8_576, `${sizes.client}`);
  assert.ok(sizes.raw <= 3_584, `${sizes.raw}`);
  assert.ok(sizes.persist <= 768, `${sizes.persist}`);
  assert.ok(sizes.react - sizes.client <= 1_024, `the hooks add ${sizes.react - sizes.client}`);
});

test('Node imports it without a page, a WebSocket or React, as server rendering does', async () => {
  const script = "import { connect, persist, ReconnectingWebSocket, OffhookError } from '@offhook/client'; console.log(typeof connect, typeof persist, typeof ReconnectingWebSocket, typeof OffhookError)";
  const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script], { cwd: directory });
  assert.equal(stdout, 'function function function function\n');
});

test('Vite builds it', async () => {
  const { build } = await import(pathToFileURL(join(MODULES, 'vite', 'dist', 'node', 'index.js')));
  const root = join(directory, 'vite');
  mkdirSync(root);
  writeFileSync(join(root, 'index.html'), '<script type="module" src="main.js"></script>');
  writeFileSync(join(root, 'main.js'), "import { connect, persist } from '@offhook/client'; globalThis.client = connect('/ws', { store: persist(sessionStorage) });");
  const { output } = await build({ root, logLevel: 'error', build: { write: false } });
  const code = output.filter(({ type }) => type === 'chunk').map((chunk) => chunk.code).join('\n');
  assert.match(code, /offhook\.v1\.json/);
});

test('esbuild builds it for browsers and for Node', async () => {
  for (const platform of ['browser', 'node']) {
    const built = await require('esbuild').build({ stdin: { contents: "export * from '@offhook/client'", resolveDir: directory }, bundle: true, format: 'esm', platform, write: false });
    assert.deepEqual([built.errors, built.warnings], [[], []]);
  }
});

test('publint finds nothing', async () => {
  const { publint } = await import(pathToFileURL(join(MODULES, 'publint', 'src', 'index-node.js')));
  const { messages } = await publint({ pkgDir: installed, strict: true });
  assert.deepEqual(messages, []);
});

test('the types are found with every module resolution', async () => {
  const cli = join(MODULES, '@arethetypeswrong', 'cli', 'dist', 'index.js');
  // It is an ES module: `require` of it works since Node 22, and CommonJS users before that import it dynamically.
  const { stdout } = await run(process.execPath, [cli, tarball, '--profile', 'esm-only', '--format', 'json']).catch((error) => assert.fail(error.stdout));
  const { analysis } = JSON.parse(stdout);
  assert.deepEqual(analysis.problems.filter(({ resolutionKind }) => !['node10', 'node16-cjs'].includes(resolutionKind)), []);
});

for (const [module, moduleResolution] of [['nodenext', 'nodenext'], ['esnext', 'bundler']]) {
  test(`a program of TypeScript with moduleResolution ${moduleResolution} needs no other types`, async () => {
    const root = join(directory, moduleResolution);
    mkdirSync(root);
    writeFileSync(join(root, 'main.ts'), "import { connect } from '@offhook/client';\nconst { position } = await connect('ws://a/').publish('chat', 'hi');\nexport const text: string = position;\n");
    writeFileSync(join(root, 'tsconfig.json'), JSON.stringify({ compilerOptions: { strict: true, noEmit: true, target: 'es2022', lib: ['es2022'], types: [], module, moduleResolution }, files: ['main.ts'] }));
    await run(process.execPath, [join(MODULES, 'typescript', 'bin', 'tsc'), '-p', root]).catch((error) => assert.fail(error.stdout));
  });
}

const README = readFileSync(join(CLIENT, 'README.md'), 'utf8');
const examples = [...README.matchAll(/```js\n(.+?)\n```/gs)].map(([, code]) => code);

/** What each example of the README prints, in order. `undefined`: it is for a page, and only parsed. */
const PRINTED = [
  ['message: hi'],
  ['connection: open', 'joined: Ann', 'members: 1'],
  ['news 1', 'news 2', 'news 3', 'older: [ 1 ]'],
  ['order 1'],
  ['done up to 3 with 3'],
  undefined,
  undefined,
  ['welcome'],
];

test('every example of the README has an expectation', () => {
  assert.equal(examples.length, PRINTED.length);
});

for (const [index, expected] of PRINTED.entries()) {
  const code = examples[index];
  const title = code.split('\n').filter((line) => !/^import|^$/.test(line))[0];
  if (expected === undefined) {
    test(`example ${index + 1} of the README is understood: ${title}`, async () => {
      const { errors } = await require('esbuild').build({ stdin: { contents: code, resolveDir: directory }, bundle: true, format: 'esm', write: false, external: ['react'] });
      assert.deepEqual(errors, []);
    });
    continue;
  }
  test(`example ${index + 1} of the README runs as it stands: ${title}`, { timeout: WATCHDOG }, async (t) => {
    const server = await Server.start();
    t.after(() => server.remove());
    // The package with the name that the example imports, with the test's
    // server in place of example.com.
    const root = mkdtempSync(join(directory, 'example-'));
    const shim = join(root, 'node_modules', '@offhook', 'client');
    mkdirSync(shim, { recursive: true });
    writeFileSync(join(shim, 'package.json'), '{ "type": "module", "exports": "./index.js" }');
    writeFileSync(join(shim, 'index.js'), `
      import { createRequire } from 'node:module';
      import * as client from ${JSON.stringify(pathToFileURL(join(installed, 'src', 'index.js')).href)};
      const { WebSocket } = createRequire(import.meta.url)('ws');
      const here = (url) => String(typeof url === 'function' ? url() : url).replace('wss://example.com', 'ws://127.0.0.1:${server.port}');
      export const connect = (url, options) => client.connect(here(url), { WebSocket, ...options });
      export class ReconnectingWebSocket extends client.ReconnectingWebSocket {
        constructor(url, protocols, options) {
          super(here(url), protocols, { WebSocket, ...options });
        }
      }
    `);
    writeFileSync(join(root, 'package.json'), '{ "type": "module" }');
    writeFileSync(join(root, 'example.js'), code);
    const program = spawn(process.execPath, ['example.js'], { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] });
    t.after(() => program.kill());
    const missing = [...expected];
    for await (const line of createInterface(program.stdout)) {
      const found = missing.indexOf(line);
      if (found >= 0) missing.splice(found, 1);
      if (missing.length === 0) break;
    }
    assert.deepEqual(missing, []);
  });
}
