//! A dialect of lines: `+room` subscribes, `room: text` publishes and arrives. It is added by a line
//! of routing.

use offhook_dialects::{Dialect, Encoding, Incoming, Intent, Payload, Shared, Welcome, native};
use offhook_engine::{
    ChannelName, CloseReason, Command, CommandId, ErrorCode, Format, Notice, PresenceChange,
    Publication, Refusal, Since, Subscribe, Tags,
};

use super::next;
use crate::{Config, door::Spoken, server::start_with, worker::Speaker};

#[derive(Debug, Default)]
struct Lines {
    sent: u64,
}

#[derive(Debug)]
struct LineEncoding;

impl Encoding for LineEncoding {
    fn name(&self) -> &'static str {
        "lines"
    }

    fn publication(&self, publication: &Publication) -> Shared {
        let text = String::from_utf8_lossy(&publication.data);
        Shared::whole(format!("{}: {text}", publication.channel))
    }

    fn presence(&self, _change: &PresenceChange) -> Option<Shared> {
        None
    }
}

impl Lines {
    fn command(line: &str) -> Result<Command, Refusal> {
        if let Some(room) = line.strip_prefix('+') {
            let room = ChannelName::new(room)?;
            return Ok(Command::Subscribe(Subscribe::new(room, Since::Now)));
        }
        let no_colon = || Refusal::new(ErrorCode::BadRequest, "write `+room` or `room: text`");
        let (room, text) = line.split_once(": ").ok_or_else(no_colon)?;
        Ok(Command::Publish {
            channel: ChannelName::new(room)?,
            data: text.to_owned().into(),
            format: Format::Text,
            tags: Tags::default(),
            key: None,
        })
    }
}

impl Dialect for Lines {
    fn encoding(&self, _connect: &native::Connect) -> &'static dyn Encoding {
        &LineEncoding
    }

    fn receive(&mut self, incoming: Incoming<'_>, intents: &mut Vec<Intent>) {
        let Incoming::Text(line) = incoming else {
            return;
        };
        if self.sent == 0 {
            intents.push(Intent::Connect(native::Connect {
                id: CommandId(0),
                token: None,
                resume: None,
                info: "".into(),
                positions: Vec::new(),
                lineage: false,
            }));
        }
        self.sent += 1;
        let id = CommandId(self.sent);
        intents.push(match Self::command(line) {
            Ok(command) => Intent::Command { id, command },
            Err(refusal) => Intent::Refuse {
                id: Some(id),
                refusal,
            },
        });
    }

    fn welcome(&mut self, _welcome: &Welcome<'_>, _out: &mut Vec<Payload>) {}

    fn refused(&mut self, _id: Option<CommandId>, refusal: &Refusal, out: &mut Vec<Payload>) {
        out.push(format!("no: {}", refusal.detail).into());
    }

    fn notice(&mut self, notice: &Notice, out: &mut Vec<Payload>) {
        let Notice::Reply { reply, .. } = notice else {
            return;
        };
        let said = format!("{reply:?}");
        let word = said.split(' ').next().unwrap_or_default();
        out.push(word.to_owned().into());
    }

    fn close_code(&self, _reason: CloseReason) -> u16 {
        1008
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dialect_is_added_by_a_line_of_routing_and_shares_channels_with_native() {
    let config = Config {
        listen: vec![([127, 0, 0, 1], 0).into()],
        in_memory: true,
        ..Config::default()
    };
    let lines = Spoken {
        subprotocol: None,
        begin: || Speaker::Other(Box::new(Box::new(Lines::default()))),
    };
    let server = start_with(config, |routes| routes.with("/lines", lines)).unwrap();
    let address = server.addresses()[0];
    let mut toy = offhook::connect(&format!("ws://{address}/lines"))
        .await
        .unwrap();
    toy.send("+chat").await.unwrap();
    assert_eq!(next(&mut toy).await, "Subscribed");

    let url = format!("ws://{address}/ws");
    let mut ours = offhook::Connect::to(&url)
        .subprotocol(native::SUBPROTOCOL)
        .open()
        .await
        .unwrap();
    ours.send(r#"{"type":"connect","id":1}"#).await.unwrap();
    ours.send(r#"{"type":"subscribe","id":2,"channel":"chat"}"#)
        .await
        .unwrap();
    assert!(next(&mut ours).await.starts_with(r#"{"type":"welcome""#));
    assert!(next(&mut ours).await.starts_with(r#"{"type":"subscribed""#));

    toy.send("chat: hello").await.unwrap();
    let heard = [next(&mut toy).await, next(&mut toy).await];
    assert!(heard.contains(&"chat: hello".to_owned()), "{heard:?}");
    let message = next(&mut ours).await;
    assert!(message.contains(r#""channel":"chat""#) && message.contains(r#""data":"hello""#));
    toy.send("rubbish").await.unwrap();
    assert_eq!(next(&mut toy).await, "Refused(Refusal");
}
