//! Executes queries and mutations (GraphQL §6). Each field of the root is a command; the result is
//! complete once all are answered.

use std::collections::{HashMap, VecDeque};

use offhook_engine::{ChannelName, Command, CommandId, ErrorCode, Refusal, Reply};

use super::{
    commands::{Step, step},
    failure::Failure,
    plan::{Plan, Prepared},
    results, schema,
    syntax::Kind,
};
use crate::{dialect::Intent, json::json};

/// Identifies an operation that is being executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Number(u64);

/// What became of an operation.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It was executed, with this result as JSON.
    Result(String),
    /// It was not executed.
    Failed(Vec<Failure>),
}

#[derive(Debug, Default)]
pub(super) struct Executor {
    last: u64,
    /// The operation of an unanswered command, and which field it is for; none if it only counts
    /// the operation as a command.
    commands: HashMap<CommandId, (Number, Option<usize>)>,
    running: HashMap<Number, Running>,
}

#[derive(Debug)]
struct Running {
    kind: Kind,
    fields: Vec<Plan>,
    results: Vec<Option<Result<String, Failure>>>,
    /// The next field to ask for.
    next: usize,
    /// Unanswered commands.
    waiting: usize,
    /// How many more bytes its results may have.
    room: usize,
    /// Why it is not executed.
    failures: Vec<Failure>,
}

impl Running {
    fn keep(&mut self, index: usize, result: Result<String, Failure>) {
        if let Ok(text) = &result {
            self.room = self.room.saturating_sub(text.len());
        }
        if let Some(slot) = self.results.get_mut(index) {
            *slot = Some(result);
        }
    }

    fn outcome(mut self) -> Outcome {
        if !self.failures.is_empty() {
            return Outcome::Failed(self.failures);
        }
        let root = schema::root(self.kind).name;
        let (mut data, mut errors) = (String::from("{\"data\":{"), Vec::new());
        let results = self.fields.iter().zip(self.results.drain(..));
        for (index, (plan, result)) in results.enumerate() {
            if index > 0 {
                data.push(',');
            }
            data.push_str(&json(&plan.key));
            data.push(':');
            let result = result.unwrap_or_else(|| {
                let result = results::meta(plan, root, self.room);
                let len = result.as_ref().map_or(0, String::len);
                self.room = self.room.saturating_sub(len);
                result
            });
            match result {
                Ok(text) => data.push_str(&text),
                Err(failure) => {
                    data.push_str("null");
                    errors.push(failure.json(Some(&plan.key)));
                }
            }
        }
        data.push('}');
        if !errors.is_empty() {
            data.push_str(",\"errors\":[");
            data.push_str(&errors.join(","));
            data.push(']');
        }
        data.push('}');
        Outcome::Result(data)
    }
}

impl Executor {
    /// The id of a command that is not one of an operation.
    pub(super) fn command_id(&mut self) -> CommandId {
        self.last = self.last.wrapping_add(1);
        CommandId(self.last)
    }

    /// How many operations are being executed.
    pub(super) fn len(&self) -> usize {
        self.running.len()
    }

    fn start(&mut self, running: Running) -> Number {
        let CommandId(number) = self.command_id();
        self.running.insert(Number(number), running);
        Number(number)
    }

    fn command(&mut self, of: Number, field: Option<usize>) -> CommandId {
        let id = self.command_id();
        self.commands.insert(id, (of, field));
        if let Some(running) = self.running.get_mut(&of) {
            running.waiting = running.waiting.saturating_add(1);
        }
        id
    }

    /// Begins to execute a query or a mutation, whose result may have this many bytes.
    pub(super) fn begin(
        &mut self,
        operation: Prepared,
        room: usize,
        intents: &mut VecDeque<Intent>,
    ) -> Number {
        let Prepared { kind, fields } = operation;
        let number = self.start(Running {
            kind,
            results: fields.iter().map(|_| None).collect(),
            fields,
            next: 0,
            waiting: 0,
            room,
            failures: Vec::new(),
        });
        self.ask(number, intents);
        if self.is_complete(number) {
            // Each operation counts as a command, even if it only asks for the schema.
            let id = self.command(number, None);
            let command = Command::Ping;
            intents.push_back(Intent::Command { id, command });
        }
        number
    }

    /// The same for an operation that cannot be executed: it counts like any other command.
    pub(super) fn fail(
        &mut self,
        failures: Vec<Failure>,
        intents: &mut VecDeque<Intent>,
    ) -> Number {
        let number = self.start(Running {
            kind: Kind::Query,
            fields: Vec::new(),
            results: Vec::new(),
            next: 0,
            waiting: 0,
            room: 0,
            failures,
        });
        let id = Some(self.command(number, None));
        let refusal = Refusal::new(ErrorCode::BadRequest, "the operation is not valid");
        intents.push_back(Intent::Refuse { id, refusal });
        number
    }

    /// Asks for the next fields: all of a query, but one after the other of a mutation (GraphQL
    /// §6.2.2).
    fn ask(&mut self, number: Number, intents: &mut VecDeque<Intent>) {
        loop {
            let Some(running) = self.running.get_mut(&number) else {
                return;
            };
            if running.kind == Kind::Mutation && running.waiting > 0 {
                return;
            }
            let index = running.next;
            let Some(plan) = running.fields.get(index) else {
                return;
            };
            let step = step(plan);
            running.next = index.saturating_add(1);
            match step {
                Ok(Step::Meta) => {}
                Ok(Step::Ask(command)) => {
                    let id = self.command(number, Some(index));
                    intents.push_back(Intent::Command { id, command });
                }
                Ok(Step::List(_)) => {
                    // Once it has counted as a command, the channels are listed.
                    let id = self.command(number, Some(index));
                    let command = Command::Ping;
                    intents.push_back(Intent::Command { id, command });
                }
                Err(failure) => running.keep(index, Err(failure)),
            }
        }
    }

    fn is_complete(&self, number: Number) -> bool {
        let running = self.running.get(&number);
        running.is_some_and(|running| running.waiting == 0 && running.next >= running.fields.len())
    }

    /// Whether this is a command of an operation, and what became of the operation if that was the
    /// last.
    pub(super) fn replied(
        &mut self,
        id: CommandId,
        reply: &Reply,
        intents: &mut VecDeque<Intent>,
    ) -> Option<(Number, Outcome)> {
        let (number, field) = self.commands.remove(&id)?;
        // None if the client has cancelled it.
        let running = self.running.get_mut(&number)?;
        running.waiting = running.waiting.saturating_sub(1);
        match (field, reply) {
            (Some(index), reply) => {
                let plan = running.fields.get(index)?;
                if let (Reply::Pong, Ok(Step::List(listing))) = (reply, step(plan)) {
                    let id = self.command(number, Some(index));
                    intents.push_back(Intent::Channels { id, listing });
                    return None;
                }
                let result = results::of_reply(plan, reply, running.room);
                running.keep(index, result);
            }
            // A client that sends too much receives that error instead.
            (None, Reply::Refused(refusal))
                if running.failures.is_empty() || refusal.code != ErrorCode::BadRequest =>
            {
                running.failures = vec![refusal.clone().into()];
            }
            (None, _) => {}
        }
        self.go_on(number, intents)
    }

    /// The channels that were asked for.
    pub(super) fn listed(
        &mut self,
        id: CommandId,
        channels: &[(ChannelName, Option<u64>)],
        next: Option<&str>,
        intents: &mut VecDeque<Intent>,
    ) -> Option<(Number, Outcome)> {
        let (number, field) = self.commands.remove(&id)?;
        let running = self.running.get_mut(&number)?;
        running.waiting = running.waiting.saturating_sub(1);
        let index = field?;
        let plan = running.fields.get(index)?;
        let result = results::channels(plan, channels, next, running.room);
        running.keep(index, result);
        self.go_on(number, intents)
    }

    fn go_on(
        &mut self,
        number: Number,
        intents: &mut VecDeque<Intent>,
    ) -> Option<(Number, Outcome)> {
        self.ask(number, intents);
        if !self.is_complete(number) {
            return None;
        }
        let running = self.running.remove(&number)?;
        Some((number, running.outcome()))
    }

    /// The client no longer wants the result. Commands that were sent are carried out.
    pub(super) fn cancel(&mut self, number: Number) {
        self.running.remove(&number);
    }
}
