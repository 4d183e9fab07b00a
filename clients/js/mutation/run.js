// Mutation tests: changes one thing at a time in ../src and runs the tests of ../test until one fails. A change that no test
// notices is printed. Needs the packages typescript and esbuild (`./test browser` installs them into .tools/stock).
//
//   NODE_PATH=.tools/stock/node_modules node clients/js/mutation/run.js [FILE…] [--again OUTPUT]
//
// FILE names source files; `--again` takes the output of an earlier run and tries only the survivors that it lists.
//
// All mutants are compiled into one bundle, each behind a switch, and the tests run in simulated time in one process. For each
// mutant, only the tests that reach it are run, so that a mutant takes milliseconds instead of a new process. Exits with 1 when a mutant survives that is not listed in equivalent.json.

import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';

import { mutants } from './mutants.js';

const require = createRequire(import.meta.url);
const ROOT = new URL('..', import.meta.url);
/** A mutant that takes this much processor time, in milliseconds, loops forever, which counts as noticed. All tests together take a few seconds. */
const TOO_LONG = 10_000;

const { values: { again }, positionals } = parseArgs({ options: { again: { type: 'string' } }, allowPositionals: true });
const wanted = positionals.map((name) => basename(name));
const { code, all } = await bundle();
const earlier = again && readFileSync(again, 'utf8').split('\n').map((line) => line.replace(/^(\S+):\d+: /, '$1 '));
const chosen = all.filter(({ file, original, replacement }) => (wanted.length === 0 || wanted.includes(file))
  && (!earlier || earlier.includes(`${file} ${original}  →  ${replacement}`)));
const survivors = await survivorsOf(chosen);
report(chosen, survivors);

/** The tests and the sources with all mutants, as one script. */
async function bundle() {
  const found = [];
  const { build } = require('esbuild');
  const tests = readdirSync(new URL('test', ROOT)).filter((name) => name.endsWith('.test.js'));
  const built = await build({
    stdin: { contents: tests.map((name) => `import './test/${name}';`).join('\n'), resolveDir: fileURLToPath(ROOT) },
    bundle: true,
    // package.json says that the modules have no side effects, but to import a test is to run it.
    ignoreAnnotations: true,
    logLevel: 'error',
    write: false,
    format: 'cjs',
    platform: 'node',
    define: { 'import.meta.url': JSON.stringify(import.meta.url) },
    plugins: [{
      name: 'mutants',
      setup(hooks) {
        hooks.onLoad({ filter: /clients\/js\/src\/.*\.js$/ }, ({ path }) => {
          const mutated = mutants(readFileSync(path, 'utf8'), basename(path), found.length);
          found.push(...mutated.found);
          return { contents: mutated.code };
        });
      },
    }],
  });
  return { code: built.outputFiles[0].text, all: found };
}

/** Runs the mutants in a worker, and in a new one whenever it hangs. */
async function survivorsOf(list) {
  const survivors = [];
  let next = 0;
  while (next < list.length) {
    next = await new Promise((resolve, reject) => {
      const worker = new Worker(new URL('worker.js', import.meta.url), { workerData: { code, from: next, numbers: list.map(({ number }) => number) } });
      let [trying, since] = [-1, processorTime()];
      const over = (from) => {
        clearInterval(watchdog);
        worker.terminate().then(() => resolve(from));
      };
      const watchdog = setInterval(() => {
        if (processorTime() - since < TOO_LONG) return;
        if (trying < 0) reject(new Error('the tests do not end without a mutant'));
        else over(trying + 1);
      }, 200);
      worker.on('message', ({ index, failed }) => {
        if (index % 100 === 99) console.error(`${index + 1} of ${list.length}, ${survivors.length} survived`);
        if (index === -1 && failed) reject(new Error(`the tests fail without a mutant: ${failed}`));
        if (!failed && index >= 0) survivors.push(list[index]);
        [trying, since] = [index < 0 ? next : index + 1, processorTime()];
        if (trying >= list.length) over(list.length);
      });
      worker.on('error', reject);
    });
  }
  return survivors;
}

/** The processor time of this process in milliseconds, which does not depend on what else the machine does. */
function processorTime() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000;
}

function report(list, survivors) {
  const equivalent = JSON.parse(readFileSync(new URL('equivalent.json', import.meta.url), 'utf8'));
  const is = (one) => (other) => ['file', 'code', 'original', 'replacement'].every((field) => one[field] === other[field]);
  const unknown = survivors.filter((one) => !equivalent.some(is(one)));
  for (const one of equivalent.filter((one) => list.some(is(one)) && !survivors.some(is(one)))) {
    console.log(`${one.file}: ${one.original}  →  ${one.replacement}: listed as equivalent, but noticed`);
  }
  for (const one of equivalent.filter((one) => !all.some(is(one)))) {
    console.log(`${one.file}: ${one.original}  →  ${one.replacement}: listed as equivalent, but no mutant`);
  }
  for (const { file, line, original, replacement } of unknown) console.log(`${file}:${line}: ${original}  →  ${replacement}`);
  const rows = [...new Set(list.map(({ file }) => file))].map((file) => {
    const of = (some) => some.filter((one) => one.file === file).length;
    return { file, mutants: of(list), caught: of(list) - of(survivors), equivalent: of(survivors) - of(unknown), survived: of(unknown) };
  });
  console.table(rows);
  const caught = list.length - survivors.length;
  const percent = (count) => (100 * count / list.length).toFixed(1);
  console.log(`${list.length} mutants: ${caught} caught (${percent(caught)} %), ${survivors.length - unknown.length} equivalent, ${unknown.length} survived`);
  process.exitCode = unknown.length > 0 ? 1 : 0;
}
