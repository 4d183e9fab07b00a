//! Keys in PEM (RFC 7468).

use data_encoding::BASE64;

/// One block: its label and its content.
pub(crate) struct Block {
    pub(crate) label: String,
    pub(crate) der: Vec<u8>,
}

/// The blocks of a text; none if one is invalid.
pub(crate) fn blocks(text: &str) -> Option<Vec<Block>> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("-----BEGIN ") {
        let (label, after) = after.split_once("-----")?;
        let (body, after) = after.split_once(&format!("-----END {label}-----"))?;
        let body: Vec<u8> = body.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        blocks.push(Block {
            label: label.to_owned(),
            der: BASE64.decode(&body).ok()?,
        });
        rest = after;
    }
    Some(blocks)
}
