// Runs the bundled tests once for each mutant, until the first that fails.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { mock } from 'node:test';
import { parentPort, workerData } from 'node:worker_threads';

const { code, numbers, from } = workerData;
const run = new Function('require', 'module', 'exports', code);
const require = createRequire(import.meta.url);

// An unhandled rejection or an exception in a task is a failure as well.
let escaped;
process.on('uncaughtException', (error) => { escaped = error; });
process.on('unhandledRejection', (error) => { escaped = error; });

for (let index = from; index < numbers.length; index += 1) {
  globalThis.__mutant = index < 0 ? undefined : numbers[index];
  parentPort.postMessage({ index, failed: await firstFailure() });
}

async function firstFailure() {
  const tests = [];
  const modules = {
    'node:test': { test: (name, body) => tests.push({ name, body }) },
    'node:assert/strict': assert,
  };
  try {
    run((name) => modules[name] ?? require(name), { exports: {} }, {});
  } catch (error) {
    return `while loading: ${error.message}`;
  }
  for (const { name, body } of tests) {
    const failed = await failure(name, body);
    if (failed) return failed;
  }
  return undefined;
}

async function failure(name, body) {
  const cleanups = [];
  escaped = undefined;
  try {
    // A test that waits forever has failed: all tests run in simulated time, and end within this turn of the event loop.
    const ended = Promise.resolve(body({ after: (cleanup) => cleanups.push(cleanup), mock })).then(() => 'ended');
    const late = new Promise((resolve) => setTimeout(resolve, 1_000, 'late'));
    if ((await Promise.race([ended, late])) === 'late') return `${name}: does not end`;
    await new Promise(setImmediate);
  } catch (error) {
    return `${name}: ${error?.message}`;
  } finally {
    for (const cleanup of cleanups) cleanup();
    mock.restoreAll();
  }
  return escaped && `${name}: ${escaped.message}`;
}
