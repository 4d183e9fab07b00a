//! The settings of a connection: RFC 9114 §7.2.4.1, RFC 9220 §3, RFC 9297 §2.1.1, and those of
//! WebTransport's drafts.

use crate::{Code, Error, varint};

const MAX_FIELD_SECTION_SIZE: u64 = 0x06;
const ENABLE_CONNECT_PROTOCOL: u64 = 0x08;
const H3_DATAGRAM: u64 = 0x33;
/// `H3_DATAGRAM` of draft-ietf-masque-h3-datagram-04, which browsers still look for.
const H3_DATAGRAM_04: u64 = 0x00ff_d277;
/// `SETTINGS_ENABLE_WEBTRANSPORT` of draft-ietf-webtrans-http3-02.
const ENABLE_WEBTRANSPORT: u64 = 0x2b60_3742;
/// `SETTINGS_WEBTRANSPORT_MAX_SESSIONS` of drafts 03 to 06.
const WEBTRANSPORT_MAX_SESSIONS_03: u64 = 0x2b60_3743;
/// `SETTINGS_WEBTRANSPORT_MAX_SESSIONS` of draft-ietf-webtrans-http3-07 and later.
const WEBTRANSPORT_MAX_SESSIONS: u64 = 0xc671_706a;

/// How many settings a peer may send. 64: there are a dozen, and a few to exercise that unknown ones
/// are ignored.
const MOST: usize = 64;

/// What one side of a connection supports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Extended CONNECT (RFC 9220).
    pub connect_protocol: bool,
    /// Datagrams (RFC 9297).
    pub datagrams: bool,
    /// How many WebTransport sessions it accepts at once on one connection; of a client, not 0 if it
    /// supports WebTransport.
    pub webtransport_sessions: u64,
    /// The largest field section that it accepts, in bytes with 32 added for each field; none if it
    /// does not say.
    pub field_section: Option<u64>,
}

impl Settings {
    /// Writes the content of a SETTINGS frame. QPACK's settings are left at 0: no dynamic table.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let is_on = self.webtransport_sessions > 0;
        let all = [
            (MAX_FIELD_SECTION_SIZE, self.field_section),
            (ENABLE_CONNECT_PROTOCOL, self.connect_protocol.then_some(1)),
            (H3_DATAGRAM, self.datagrams.then_some(1)),
            (H3_DATAGRAM_04, self.datagrams.then_some(1)),
            (ENABLE_WEBTRANSPORT, is_on.then_some(1)),
            (
                WEBTRANSPORT_MAX_SESSIONS_03,
                is_on.then_some(self.webtransport_sessions),
            ),
            (
                WEBTRANSPORT_MAX_SESSIONS,
                is_on.then_some(self.webtransport_sessions),
            ),
        ];
        let mut out = Vec::new();
        for (name, value) in all {
            if let Some(value) = value {
                varint::write(name, &mut out);
                varint::write(value, &mut out);
            }
        }
        out
    }

    /// Reads the content of a SETTINGS frame.
    ///
    /// # Errors
    /// Settings that are cut off, repeated, or those of HTTP/2.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, Error> {
        let wrong = |detail| Error::new(Code::SETTINGS_ERROR, detail);
        let (mut settings, mut names) = (Self::default(), Vec::new());
        while !bytes.is_empty() {
            let (Some(name), Some(value)) = (varint::read(&mut bytes), varint::read(&mut bytes))
            else {
                let detail = "a SETTINGS frame ends within a setting";
                return Err(Error::new(Code::FRAME_ERROR, detail));
            };
            // RFC 9114 §7.2.4.1: reserved, because HTTP/2 has them.
            if matches!(name, 0x00 | 0x02..=0x05) {
                return Err(wrong("a setting that only HTTP/2 has"));
            }
            if names.contains(&name) {
                return Err(wrong("a setting is given twice"));
            }
            names.push(name);
            if names.len() > MOST {
                return Err(wrong("too many settings"));
            }
            settings.set(name, value)?;
        }
        Ok(settings)
    }

    fn set(&mut self, name: u64, value: u64) -> Result<(), Error> {
        let switch = || match value {
            0 | 1 => Ok(value == 1),
            _ => Err(Error::new(
                Code::SETTINGS_ERROR,
                "a setting that is 0 or 1 has another value",
            )),
        };
        match name {
            MAX_FIELD_SECTION_SIZE => self.field_section = Some(value),
            ENABLE_CONNECT_PROTOCOL => self.connect_protocol = switch()?,
            H3_DATAGRAM | H3_DATAGRAM_04 => self.datagrams |= switch()?,
            ENABLE_WEBTRANSPORT | WEBTRANSPORT_MAX_SESSIONS_03 | WEBTRANSPORT_MAX_SESSIONS => {
                self.webtransport_sessions = self.webtransport_sessions.max(value);
            }
            _ => {}
        }
        Ok(())
    }
}
