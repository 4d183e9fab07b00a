//! permessage-deflate, as an opening handshake would have negotiated it.

use offhook_protocol::Deflate;
use offhook_protocol::deflate::{DeflateConfig, DeflateParams, DeflatePool, parse_extensions};

/// The parameters that a client and a server with these configurations agree on.
///
/// # Panics
/// If they do not agree.
#[must_use]
pub fn agree(of_client: &DeflateConfig, of_server: &DeflateConfig) -> DeflateParams {
    let offer = of_client.offer();
    let offers = parse_extensions([offer.as_bytes()]).expect("our own offer");
    let params = of_server.accept(&offers).expect("an offer of ours");
    let answer = params.to_string();
    let answers = parse_extensions([answer.as_bytes()]).expect("our own answer");
    let confirmed = of_client.confirm(&answers).expect("an answer of ours");
    confirmed.expect("the server accepted")
}

/// The codecs of both ends, the client's first, with a pool of their own.
#[must_use]
pub fn deflates(of_client: &DeflateConfig, of_server: &DeflateConfig) -> (Deflate, Deflate) {
    let params = agree(of_client, of_server);
    let pool = DeflatePool::default();
    let client = Deflate::client(&params, of_client, &pool);
    let server = Deflate::server(&params, of_server, &pool);
    (client, server)
}
