//! The client's side of the dialect: encodes requests and decodes the server's messages.
//!
//! Decoding is lenient where a newer server may send more: unknown fields and types are not errors,
//! and codes and reasons remain text. It is strict where a client would have to guess.
//!
//! ```
//! use offhook_dialects::native::client::{Command, CommandId, Said, encode_request, read};
//! use offhook_dialects::native::{Request, decode};
//!
//! let request = Request::Command { id: CommandId(7), command: Command::Ping };
//! let text = encode_request(&request);
//! assert_eq!(text, r#"{"type":"ping","id":7}"#);
//! assert_eq!(decode(&text), Ok(request));
//!
//! assert_eq!(read(r#"{"type":"pong","id":7}"#), Ok(Said::Pong { id: CommandId(7) }));
//! ```

mod encode;
mod fields;
mod read;
mod said;

pub use encode::{encode_request, encode_request_binary, has_bytes};
// Types used by both sides, so that a client needs no other crate.
pub use offhook_engine::{
    ChannelName, Command, CommandId, ErrorCode, Filter, Format, Key, Position, Refusal, Retry,
    Since, Subscribe, SubscriptionId, SubscriptionKey, Tags, Target,
};
pub use read::{Unreadable, read, read_binary};
pub use said::{About, Member, Message, Payload, Refused, Said};
