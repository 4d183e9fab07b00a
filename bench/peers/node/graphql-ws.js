// graphql-ws on Node.js: `node graphql-ws.js PORT`, with the operations of docs/dialects/graphql.md that
// the benchmarks use.
const { buildSchema } = require('graphql');
const { useServer } = require('graphql-ws/use/ws');
const { WebSocketServer } = require('ws');

const schema = buildSchema(`
  scalar JSON
  type Message { data: JSON }
  type Position { offset: String }
  type Query { version: String }
  type Mutation { publish(channel: String!, data: JSON!): Position }
  type Subscription { channel(name: String!): Message }
`);

const channels = new Map();

async function* messages(channel) {
  const readers = channels.get(channel) ?? new Set();
  channels.set(channel, readers);
  const queue = [];
  let wake = () => {};
  const reader = (message) => {
    queue.push(message);
    wake();
  };
  readers.add(reader);
  try {
    for (;;) {
      while (queue.length > 0) yield { channel: queue.shift() };
      await new Promise((resolve) => (wake = resolve));
    }
  } finally {
    readers.delete(reader);
  }
}

let offset = 0;
const roots = {
  query: { version: () => '1' },
  mutation: {
    publish({ channel, data }) {
      for (const reader of channels.get(channel) ?? []) reader({ data });
      return { offset: String((offset += 1)) };
    },
  },
  subscription: { channel: ({ name }) => messages(name) },
};

const port = Number(process.argv[2]);
const server = new WebSocketServer({ host: '127.0.0.1', port, path: '/graphql' });
useServer({ schema, roots }, server);
server.on('listening', () => console.log(`127.0.0.1:${port}`));
