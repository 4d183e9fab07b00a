//! The native dialect: JSON, one object per message, specified in `docs/protocol.md`. Its binary form
//! has the same messages in CBOR.
//!
//! ```
//! use offhook_dialects::native::{self, Request};
//! use offhook_engine::{Command, Reply, Position, Notice, CommandId};
//!
//! let text = r#"{"type":"publish","id":1,"channel":"chat","data":{"text":"hi"},"key":"a1"}"#;
//! let Ok(Request::Command { id, command }) = native::decode(text) else { panic!() };
//! assert!(matches!(command, Command::Publish { .. }));
//!
//! let reply = Reply::Published { position: Position::new(17, 4), duplicate: false };
//! let text = native::encode_notice(&Notice::Reply { id: Some(id), reply });
//! assert_eq!(text, r#"{"type":"published","id":1,"position":"17.4"}"#);
//!
//! let rejection = native::decode(r#"{"type":"publish","id":2,"channel":7}"#).unwrap_err();
//! assert_eq!(rejection.id, Some(CommandId(2)));
//! ```

mod cbor;
pub mod client;
mod decode;
mod diagnostic;
mod dialect;
mod embedded;
mod encode;
mod fields;
mod write;
mod writer;

pub use crate::dialect::Connect;
pub use decode::{
    MAX_CHANNELS, MAX_INFO, MAX_METHOD, MAX_POSITIONS, MAX_WINDOW, Rejection, Request,
    SubscribeAll, decode, decode_binary,
};
pub use diagnostic::diagnostic;
pub use dialect::Native;
pub(crate) use dialect::{Json, JsonWithoutLineage};
pub use encode::{
    close_code, encode_expiring, encode_new_epoch, encode_notice, encode_presence,
    encode_publication, encode_refreshed, encode_rejection, encode_token, encode_welcome,
};
pub(crate) use write::{publication_fields, refusal_fields};

/// The WebSocket subprotocol of this dialect, in which all messages are text.
pub const SUBPROTOCOL: &str = "offhook.v1.json";
/// The WebSocket subprotocol of this dialect in which messages may be binary: CBOR, where bytes need
/// no base64.
pub const SUBPROTOCOL_CBOR: &str = "offhook.v1.cbor";
