//! Both directions of a connection, and how they affect each other.

use offhook_protocol::deflate::DeflateParams;

use super::content::Compression;
use super::dialect::Dialect;
use super::direction::{Direction, Piece};
use super::head::{Answered, Asked, Head};

/// One side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Side {
    Client,
    Server,
}

impl Side {
    /// The side that sends bytes starting like these: only servers start with a status line, and
    /// only clients mask.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let is_client = match bytes {
            _ if bytes.starts_with(b"HTTP/") => false,
            _ if bytes.starts_with(b"GET ") => true,
            [_, second, ..] => second & 0x80 != 0,
            _ => false,
        };
        if is_client {
            Self::Client
        } else {
            Self::Server
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }

    pub(crate) fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// A captured connection.
#[derive(Debug)]
pub(crate) struct Conversation {
    client: Direction,
    server: Direction,
    asked: Option<Asked>,
    agreed: Agreed,
    dialect: Dialect,
}

#[derive(Clone, Copy, Debug)]
enum Agreed {
    /// The server's answer was not captured.
    Unknown,
    On(Option<DeflateParams>),
}

impl Conversation {
    pub(crate) fn new() -> Self {
        Self {
            client: Direction::new(Side::Client),
            server: Direction::new(Side::Server),
            asked: None,
            agreed: Agreed::Unknown,
            dialect: Dialect::default(),
        }
    }

    /// Processes bytes sent by one side, and returns the pieces they complete.
    pub(crate) fn take(&mut self, side: Side, bytes: &[u8]) -> Vec<Piece> {
        let mut pieces = Vec::new();
        self.direction(side).push(bytes);
        if let Some(head) = self.direction(side).take_head() {
            pieces.extend(self.head(side, &head));
        }
        let compression = self.compression(side);
        while let Some(mut piece) = self.direction(side).take_frame(compression) {
            if let Piece::Frame(frame) = &mut piece {
                self.dialect.explain(frame);
            }
            pieces.push(piece);
        }
        pieces
    }

    /// The incomplete pieces at the end of the input.
    pub(crate) fn finish(&mut self) -> Vec<Piece> {
        let directions = [&mut self.client, &mut self.server];
        directions
            .into_iter()
            .filter_map(Direction::finish)
            .collect()
    }

    fn head(&mut self, side: Side, bytes: &[u8]) -> Vec<Piece> {
        match side {
            Side::Client => {
                let (head, asked) = Head::request(bytes);
                self.asked = Some(asked);
                self.dialect = Dialect::asked_for(&head);
                vec![Piece::Head(side, head)]
            }
            Side::Server => {
                let (head, answered) = Head::response(bytes, self.asked.as_ref());
                let mut pieces = vec![Piece::Head(side, head)];
                match answered {
                    Answered::Open(deflate) => self.agreed = Agreed::On(deflate),
                    Answered::No => {
                        let why = "the body of the server's refusal";
                        pieces.extend(self.server.give_up(why));
                    }
                }
                pieces
            }
        }
    }

    fn direction(&mut self, side: Side) -> &mut Direction {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    fn compression(&self, side: Side) -> Compression {
        match (self.agreed, side) {
            (Agreed::Unknown, _) => Compression::Unknown,
            (Agreed::On(None), _) => Compression::Off,
            (Agreed::On(Some(params)), Side::Client) => Compression::On(params.client()),
            (Agreed::On(Some(params)), Side::Server) => Compression::On(params.server()),
        }
    }
}
