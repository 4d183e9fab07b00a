//! The output of `tshark -z follow,tcp,…`: a header, followed by both directions of one stream.

/// A followed stream, without its header.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Followed {
    /// As a hex dump or as digits, which [`super::dump`] reads.
    Bytes(Vec<u8>),
    /// In a form that loses bytes.
    Lossy(String),
}

/// Recognises the header; `None` if it is missing.
pub(super) fn read(bytes: &[u8]) -> Option<Followed> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (_, after) = text.split_once("Follow: ")?;
    let form = after.lines().next()?.trim();
    let (protocol, form) = form.split_once(',')?;
    if !matches!(protocol, "tcp" | "tls" | "http") {
        return None;
    }
    if !matches!(form, "raw" | "hex") {
        return Some(Followed::Lossy(form.to_owned()));
    }
    let is_header = |line: &&str| {
        let starts = ["Follow: ", "Filter: ", "Node 0: ", "Node 1: ", "====="];
        starts.iter().any(|start| line.starts_with(start))
    };
    let (_, body) = after.split_once("Node 1: ")?;
    let lines = body.lines().skip(1).filter(|line| !is_header(line));
    let body: Vec<&str> = lines.collect();
    Some(Followed::Bytes(body.join("\n").into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_of_a_followed_stream_is_removed() {
        let text = "\n=====\nFollow: tcp,raw\nFilter: tcp.stream eq 0\nNode 0: 127.0.0.1:1\n\
                    Node 1: 127.0.0.1:2\n8100\n\t8101aa\n=====\n";
        let body = b"8100\n\t8101aa".to_vec();
        assert_eq!(read(text.as_bytes()), Some(Followed::Bytes(body)));
        let lossy = text.replace("raw", "ascii");
        let ascii = Followed::Lossy("ascii".to_owned());
        assert_eq!(read(lossy.as_bytes()), Some(ascii));
        assert_eq!(read(b"8100"), None);
    }
}
