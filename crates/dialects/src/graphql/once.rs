//! GraphQL over an HTTP request: one operation or a batch, and the answer.

use std::{
    collections::{HashMap, VecDeque},
    time::Instant,
};

use bytes::Bytes;
use offhook_engine::{ChannelName, CloseReason, CommandId, Notice, Refusal};
use serde_json::value::RawValue;

use super::{
    Settings,
    dialect::{Content, close_code},
    execution::{Executor, Number, Outcome},
    failure::{self, Failure},
    out::MAX_ANSWER,
    plan::{Prepared, prepare},
    request::Request,
    syntax::Kind,
};
use crate::dialect::{
    Connect, Dialect, Encoding, Head, Incoming, Intent, Payload, Recipient, Shared, Welcome,
};

/// A request that is not executed, with the body of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unexecuted {
    /// It is no request.
    Request(String),
    /// Its document or its variables are wrong.
    Document(String),
    /// It is a mutation, and the method may not change anything.
    Mutation(String),
    /// It is a batch of requests, all of which are wrong.
    Batch(String),
}

/// The operations of one request. Once all are answered, the connection is closed.
#[derive(Debug)]
pub struct Once {
    executor: Executor,
    /// What is to be executed, until the session begins.
    operations: Vec<(usize, Prepared)>,
    /// The place of each operation in the answer.
    places: HashMap<Number, usize>,
    answers: Vec<Option<String>>,
    is_batch: bool,
    connect: Option<CommandId>,
    queue: VecDeque<Intent>,
    has_ended: bool,
}

impl Once {
    /// The body of a `POST`.
    ///
    /// # Errors
    /// If there is nothing to be executed.
    pub fn post(body: &str, settings: &Settings) -> Result<Self, Unexecuted> {
        let wrong = |detail: String| Unexecuted::Request(failure::answer(&[Failure::bad(detail)]));
        if !body.trim_start().starts_with('[') {
            let request = Request::read(body).map_err(|reason| wrong(reason.to_owned()))?;
            let operation = prepared(&request, settings).map_err(Unexecuted::Document)?;
            return Ok(Self::new(vec![Ok(operation)], false));
        }
        let requests: Vec<&RawValue> =
            serde_json::from_str(body).map_err(|_| wrong("the batch is not JSON".to_owned()))?;
        let (count, most) = (requests.len(), settings.batch);
        if count == 0 || count > most {
            let detail = format!("the batch has {count} operations; 1 to {most} are allowed");
            return Err(wrong(detail));
        }
        let operations = requests.into_iter().map(|raw| {
            let request = Request::read(raw.get());
            let request = request.map_err(|reason| failure::answer(&[Failure::bad(reason)]))?;
            prepared(&request, settings)
        });
        let operations: Vec<Result<Prepared, String>> = operations.collect();
        if operations.iter().all(Result::is_err) {
            let answers: Vec<_> = operations.into_iter().filter_map(Result::err).collect();
            return Err(Unexecuted::Batch(format!("[{}]", answers.join(","))));
        }
        Ok(Self::new(operations, true))
    }

    /// The parameters of a `GET`: `query`, `operationName`, `variables` and `extensions`.
    ///
    /// # Errors
    /// If there is nothing to be executed.
    pub fn get(
        query: Option<&str>,
        operation: Option<&str>,
        variables: Option<&str>,
        extensions: Option<&str>,
        settings: &Settings,
    ) -> Result<Self, Unexecuted> {
        let wrong = |reason| Unexecuted::Request(failure::answer(&[Failure::bad(reason)]));
        let query = query.ok_or_else(|| wrong("query: is missing"))?;
        let request = Request::of_url(query, operation, variables, extensions).map_err(wrong)?;
        let operation = prepared(&request, settings).map_err(Unexecuted::Document)?;
        if operation.kind == Kind::Mutation {
            let detail = "a GET changes nothing; send the mutation with POST";
            let body = failure::answer(&[Failure::bad(detail)]);
            return Err(Unexecuted::Mutation(body));
        }
        Ok(Self::new(vec![Ok(operation)], false))
    }

    fn new(operations: Vec<Result<Prepared, String>>, is_batch: bool) -> Self {
        let mut once = Self {
            executor: Executor::default(),
            operations: Vec::new(),
            places: HashMap::new(),
            answers: Vec::new(),
            is_batch,
            connect: None,
            queue: VecDeque::new(),
            has_ended: false,
        };
        for (place, operation) in operations.into_iter().enumerate() {
            let answer = match operation {
                Ok(operation) => {
                    once.operations.push((place, operation));
                    None
                }
                Err(answer) => Some(answer),
            };
            once.answers.push(answer);
        }
        once
    }

    fn done(&mut self, done: Option<(Number, Outcome)>, out: &mut Vec<Payload>) {
        let Some((number, outcome)) = done else {
            return;
        };
        let place = self.places.remove(&number);
        let slot = place.and_then(|place| self.answers.get_mut(place));
        if let Some(slot) = slot {
            *slot = Some(match outcome {
                Outcome::Result(result) => result,
                Outcome::Failed(failures) => failure::answer(&failures),
            });
        }
        self.say(out);
    }

    /// Sends the answer if it is complete.
    fn say(&mut self, out: &mut Vec<Payload>) {
        if self.has_ended || self.answers.iter().any(Option::is_none) {
            return;
        }
        self.has_ended = true;
        let answers: Vec<_> = self.answers.drain(..).flatten().collect();
        let answer = match self.is_batch {
            true => format!("[{}]", answers.join(",")),
            false => answers.into_iter().next().unwrap_or_default(),
        };
        out.push(answer.into());
        self.queue.clear();
        self.queue.push_back(Intent::Close {
            code: 1000,
            reason: "the request is answered",
        });
    }
}

/// An operation that can be executed over a request, or the answer that says why not.
fn prepared(request: &Request<'_>, settings: &Settings) -> Result<Prepared, String> {
    let operation = prepare(request, settings).map_err(|failures| failure::answer(&failures))?;
    if operation.kind == Kind::Subscription {
        let detail = "a subscription needs a WebSocket: connect to the same path with the subprotocol \
                      graphql-transport-ws";
        return Err(failure::answer(&[Failure::bad(detail)]));
    }
    Ok(operation)
}

impl Dialect for Once {
    fn encoding(&self, _connect: &Connect) -> &'static dyn Encoding {
        &Content
    }

    /// The first call handles the request; the client sends nothing afterwards.
    fn receive(&mut self, _incoming: Incoming<'_>, _now: Instant, intents: &mut Vec<Intent>) {
        if self.connect.is_some() {
            return;
        }
        let id = self.executor.command_id();
        self.connect = Some(id);
        intents.push(Intent::Connect(Connect {
            id,
            token: None,
            resume: None,
            info: Bytes::new(),
            positions: Vec::new(),
            lineage: true,
            named: None,
        }));
        let room = MAX_ANSWER
            .checked_div(self.answers.len())
            .unwrap_or(MAX_ANSWER);
        for (place, operation) in std::mem::take(&mut self.operations) {
            let number = self.executor.begin(operation, room, &mut self.queue);
            self.places.insert(number, place);
        }
        intents.extend(self.queue.drain(..));
    }

    fn poll_intent(&mut self) -> Option<Intent> {
        self.queue.pop_front()
    }

    fn has_tokens(&self) -> bool {
        false
    }

    fn head(&mut self, _recipient: &Recipient, _shared: &Shared) -> Head {
        Head::Nothing
    }

    fn welcome(&mut self, _welcome: &Welcome<'_>, _out: &mut Vec<Payload>) {}

    /// The session is refused, and with it every operation.
    fn refused(&mut self, id: Option<CommandId>, refusal: &Refusal, out: &mut Vec<Payload>) {
        if id.is_none() || id != self.connect {
            return;
        }
        let answer = failure::answer(&[Failure::from(refusal.clone())]);
        // One answer is for all: its status says why.
        self.is_batch = false;
        self.answers.truncate(1);
        self.answers.fill(Some(answer));
        self.say(out);
    }

    fn channels(
        &mut self,
        id: CommandId,
        channels: &[(ChannelName, Option<u64>)],
        next: Option<&str>,
        out: &mut Vec<Payload>,
    ) {
        let done = self.executor.listed(id, channels, next, &mut self.queue);
        self.done(done, out);
    }

    /// Only answers are sent.
    fn notice(&mut self, notice: &Notice, out: &mut Vec<Payload>) {
        if let Notice::Reply {
            id: Some(id),
            reply,
        } = notice
        {
            let done = self.executor.replied(*id, reply, &mut self.queue);
            self.done(done, out);
        }
    }

    fn close_code(&self, reason: CloseReason) -> u16 {
        close_code(reason)
    }
}
