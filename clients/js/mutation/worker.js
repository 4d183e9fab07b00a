// Runs the bundled tests once without a mutant, to see which mutants each test reaches, and then for each mutant the tests that
// reach it, until the first that fails.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { mock } from 'node:test';
import { parentPort, workerData } from 'node:worker_threads';

const { code, numbers, from } = workerData;
const run = new Function('require', 'module', 'exports', code);
const require = createRequire(import.meta.url);

/** A test that has not ended after this many turns of the event loop, and this many milliseconds, waits forever: it runs in simulated time. */
const TURNS = 50_000;
const MILLISECONDS = 300;

// An unhandled rejection or an exception in a task is a failure as well.
let escaped;
process.on('uncaughtException', (error) => { escaped = error; });
process.on('unhandledRejection', (error) => { escaped = error; });

// The mutant in use, and the set in which the mutants that are reached are noted.
let active;
let reached;
globalThis.__mutant = (number) => {
  reached?.add(number);
  return number === active;
};

/** For each mutant, the tests that reach it, by their place in the list; `undefined` if it is reached while the modules load. */
const reaching = new Map();

if (await isReady()) {
  for (let index = from; index < numbers.length; index += 1) {
    active = numbers[index];
    parentPort.postMessage({ index, failed: await firstFailure(reaching.get(active)) });
  }
}

/** Runs all tests without a mutant. */
async function isReady() {
  reached = new Set();
  const tests = load();
  for (const number of reached) reaching.set(number, tests.map((_, place) => place));
  const results = [];
  for (const [place, { name, body }] of tests.entries()) {
    reached = new Set();
    const failed = await failure(name, body);
    if (failed) {
      parentPort.postMessage({ index: -1, failed });
      return false;
    }
    results.push({ place, reached });
  }
  reached = undefined;
  // Tests that reach little come first, because they are about what they reach.
  results.sort((a, b) => a.reached.size - b.reached.size);
  for (const { place, reached } of results) {
    for (const number of reached) {
      if (!reaching.has(number)) reaching.set(number, []);
      if (!reaching.get(number).includes(place)) reaching.get(number).push(place);
    }
  }
  parentPort.postMessage({ index: -1 });
  return true;
}

/** Evaluates the bundle, and returns its tests. */
function load() {
  const tests = [];
  const modules = {
    'node:test': { test: (name, body) => tests.push({ name, body }) },
    'node:assert/strict': assert,
  };
  run((name) => modules[name] ?? require(name), { exports: {} }, {});
  return tests;
}

async function firstFailure(places = []) {
  let tests;
  try {
    tests = load();
  } catch (error) {
    return `while loading: ${error.message}`;
  }
  for (const place of places) {
    const { name, body } = tests[place] ?? {};
    if (!body) return 'there are fewer tests';
    const failed = await failure(name, body);
    if (failed) return failed;
  }
  return undefined;
}

async function failure(name, body) {
  const cleanups = [];
  escaped = undefined;
  let isOver = false;
  try {
    const ended = Promise.resolve(body({ after: (cleanup) => cleanups.push(cleanup), mock })).then(() => 'ended');
    if ((await Promise.race([ended, late(() => isOver)])) === 'late') return `${name}: does not end`;
    await new Promise(setImmediate);
  } catch (error) {
    return `${name}: ${error?.message}`;
  } finally {
    isOver = true;
    for (const cleanup of cleanups) cleanup();
    mock.restoreAll();
  }
  return escaped && `${name}: ${escaped.message}`;
}

async function late(isOver) {
  const begun = performance.now();
  for (let turn = 0; turn < TURNS || performance.now() - begun < MILLISECONDS; turn += 1) {
    if (isOver()) return undefined;
    await new Promise(setImmediate);
  }
  return 'late';
}
