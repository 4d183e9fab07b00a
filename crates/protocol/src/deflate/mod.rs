//! permessage-deflate (RFC 7692): its negotiation and its codecs.

mod config;
mod stub;
pub use stub::*;
mod extensions;
mod negotiate;

pub use config::{DeflateConfig, DeflateMemory};
pub use extensions::{
    Extension, ExtensionsError, MAX_EXTENSIONS, MAX_PARAMETERS, Parameter, parse_extensions,
};
pub use negotiate::{DeflateParams, DeflateTerms, NegotiationError, PERMESSAGE_DEFLATE};
