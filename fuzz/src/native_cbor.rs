//! Messages of the native dialect in CBOR, from a client and from a server: each is decoded or
//! refused, and a request means the same in CBOR as in JSON.

use offhook_dialects::native::{
    client::{encode_request, encode_request_binary, read_binary},
    decode, decode_binary,
};

/// One binary message.
pub fn native_cbor(data: &[u8]) {
    let _either = read_binary(data);
    let Ok(request) = decode_binary(data) else {
        return;
    };
    // Both may be refused: of several channels, those that are refused are not sent.
    let binary = decode_binary(&encode_request_binary(&request));
    let text = decode(&encode_request(&request));
    assert_eq!(binary, text, "{request:?}");
}
