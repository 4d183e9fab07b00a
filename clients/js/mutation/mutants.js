// Finds possible mutations of a source file, and puts each behind a switch. As with Stryker, numbers are not changed.

import { createRequire } from 'node:module';

const ts = createRequire(import.meta.url)('typescript');
const Kind = ts.SyntaxKind;

const OPERATORS = {
  '<': ['<=', '>='], '<=': ['<', '>'], '>': ['>=', '<='], '>=': ['>', '<'],
  '===': ['!=='], '!==': ['==='], '+': ['-'], '-': ['+'], '*': ['/'], '/': ['*'], '**': ['*'],
  '&&': ['||'], '||': ['&&'], '??': ['&&'],
};
const ASSIGNMENTS = { '+=': '-=', '-=': '+=', '??=': '=' };
const CALLS = { min: 'max', max: 'min', some: 'every', every: 'some' };

/** The source with all mutants in it, numbered from `first`, and what they are: `{ number, file, line, code, original, replacement }`. */
export function mutants(source, file, first) {
  const lines = source.split('\n');
  const tree = ts.createSourceFile(file, source, ts.ScriptTarget.ES2022, true, ts.ScriptKind.JS);
  const found = [];
  const edits = []; // `{ at, text }`: text to insert before the character `at`.

  const note = (node, replacement) => {
    const number = first + found.length;
    const line = tree.getLineAndCharacterOfPosition(node.getStart()).line + 1;
    found.push({ number, file, line, code: lines[line - 1].trim(), original: short(node.getText()), replacement: short(replacement) });
    return number;
  };
  const wrap = (node, before, after) => edits.push({ at: node.getStart(), text: before, order: -node.getWidth() }, { at: node.getEnd(), text: after, order: node.getWidth() });
  const replace = (node, replacement) => wrap(node, `(__mutant(${note(node, replacement)}) ? ${parenthesized(replacement)} : (`, '))');
  // In braces, so that a following `else` does not belong to it.
  const skip = (node) => wrap(node, `{ if (!__mutant(${note(node, '{}')})) {`, '}}');

  const visit = (node) => {
    mutate(node, { replace, skip });
    ts.forEachChild(node, visit);
  };
  visit(tree);
  return { code: `const __mutant = globalThis.__mutant;\n${apply(source, edits)}`, found };
}

function mutate(node, { replace, skip }) {
  const text = (child) => child.getText();
  switch (node.kind) {
    case Kind.BinaryExpression: {
      const operator = text(node.operatorToken);
      for (const other of OPERATORS[operator] ?? []) {
        // JavaScript forbids ?? next to && and || without parentheses.
        replace(node, `(${text(node.left)}) ${other} (${text(node.right)})`);
      }
      const other = ASSIGNMENTS[operator];
      if (other && !isTarget(node)) replace(node, `${text(node.left)} ${other} ${text(node.right)}`);
      break;
    }
    case Kind.PrefixUnaryExpression:
      if (node.operator === Kind.ExclamationToken) replace(node, `!!${text(node.operand)}`);
      break;
    case Kind.TrueKeyword: replace(node, 'false'); break;
    case Kind.FalseKeyword: replace(node, 'true'); break;
    case Kind.ConditionalExpression:
      replace(node.condition, 'true');
      replace(node.condition, 'false');
      break;
    case Kind.IfStatement:
    case Kind.WhileStatement:
      replace(node.expression, 'false');
      if (node.kind === Kind.IfStatement) replace(node.expression, 'true');
      break;
    case Kind.ForStatement:
      if (node.condition) replace(node.condition, 'false');
      break;
    case Kind.ArrowFunction:
      if (node.body.kind !== Kind.Block && text(node.body) !== '{}') replace(node.body, 'undefined');
      break;
    case Kind.CallExpression: {
      const { expression } = node;
      if (expression.kind !== Kind.PropertyAccessExpression) break;
      const [object, method] = [text(expression.expression), text(expression.name)];
      const args = node.arguments.map(text).join(', ');
      const dot = expression.questionDotToken ? '?.' : '.';
      if (Object.hasOwn(CALLS, method)) replace(node, `${object}${dot}${CALLS[method]}(${args})`);
      if (method === 'filter' || method === 'sort') replace(node, object);
      break;
    }
    case Kind.PropertyAccessExpression:
      if (node.questionDotToken && isWholeChain(node)) replace(node, `${text(node.expression)}.${text(node.name)}`);
      break;
    case Kind.ArrayLiteralExpression:
      if (node.elements.length > 0 && !isTarget(node) && !isIterated(node)) replace(node, '[]');
      break;
    case Kind.StringLiteral:
      // The wording of messages is not mutated.
      if (isValue(node) && !/ /.test(node.text)) replace(node, "'mutated'");
      break;
    case Kind.ExpressionStatement:
      if (node.expression.kind !== Kind.StringLiteral && !isSuperCall(node.expression)) skip(node);
      break;
    case Kind.ReturnStatement:
      if (node.expression && text(node.expression) !== 'undefined' && node.parent.kind === Kind.Block) replace(node.expression, 'undefined');
      break;
    case Kind.BreakStatement:
      break;
    default:
  }
}

const isSuperCall = (node) => node.kind === Kind.CallExpression && node.expression.kind === Kind.SuperKeyword;

/** Something that is assigned to cannot be wrapped into a conditional. */
function isTarget(node) {
  const { parent } = node;
  if (parent.kind === Kind.BinaryExpression && parent.left === node && parent.operatorToken.getText() === '=') return true;
  if (parent.kind === Kind.ForOfStatement && parent.initializer === node) return true;
  return parent.kind === Kind.ArrayLiteralExpression && isTarget(parent);
}

/** `[a, b] = [c, d]`: empty it would only crash. */
function isIterated(node) {
  return node.parent.kind === Kind.VariableDeclaration && node.parent.name.kind === Kind.ArrayBindingPattern;
}

/** A value, rather than a property's name or a module's. */
function isValue(node) {
  const { parent } = node;
  return ![Kind.ImportDeclaration, Kind.ExportDeclaration, Kind.CaseClause, Kind.ImportAttribute].includes(parent.kind)
    && !(parent.kind === Kind.PropertyAssignment && parent.name === node)
    && !(parent.kind === Kind.CallExpression && parent.expression.kind === Kind.ImportKeyword);
}

/** An optional access whose chain ends with it, so that its value can be put in parentheses. */
function isWholeChain(node) {
  const { parent } = node;
  const continues = [Kind.PropertyAccessExpression, Kind.CallExpression, Kind.ElementAccessExpression].includes(parent.kind) && parent.expression === node;
  return !continues && parent.kind !== Kind.DeleteExpression;
}

const parenthesized = (text) => `(${text})`;

function short(text) {
  return text.replace(/\s+/g, ' ').slice(0, 160);
}

/** Later edits first, so that positions stay right; at one position outer ones open first and close last. */
function apply(source, edits) {
  const sorted = edits.map((edit, index) => ({ ...edit, index })).sort((a, b) => a.at - b.at || a.order - b.order || a.index - b.index);
  let [code, at] = ['', 0];
  for (const edit of sorted) {
    code += source.slice(at, edit.at) + edit.text;
    at = edit.at;
  }
  return code + source.slice(at);
}
