//! A dialect of lines: `+room` subscribes, `room: text` publishes and arrives. A client that has been
//! silent is asked with a dot, and closed if it stays silent. It is added by a line of routing.

use std::time::{Duration, Instant};

use offhook_dialects::{Dialect, Encoding, Incoming, Intent, Payload, Shared, Welcome, native};
use offhook_engine::{
    ChannelName, CloseReason, Command, CommandId, ErrorCode, Format, Notice, PresenceChange,
    Publication, Refusal, Since, Subscribe, Tags,
};

/// A client may be silent for so long before it is asked, and again before it is closed.
pub(super) const SILENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(super) struct Lines {
    sent: u64,
    /// When the client's silence counts.
    silent_at: Option<Instant>,
    asked: bool,
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

    fn receive(&mut self, incoming: Incoming<'_>, now: Instant, intents: &mut Vec<Intent>) {
        (self.silent_at, self.asked) = (Some(now + SILENCE), false);
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
                named: None,
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

    fn poll_timeout(&self) -> Option<Instant> {
        self.silent_at
    }

    fn handle_timeout(&mut self, now: Instant, intents: &mut Vec<Intent>) {
        if std::mem::replace(&mut self.asked, true) {
            let (code, reason) = (1008, "silent for too long");
            self.silent_at = None;
            return intents.push(Intent::Close { code, reason });
        }
        self.silent_at = Some(now + SILENCE);
        intents.push(Intent::Say(".".to_owned().into()));
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
