//! Encodes publications for subscriptions that share their bytes: QoS 0, without identifiers,
//! aliases and limits on the packet size.

use offhook_engine::{PresenceChange, Publication};

use super::{
    content,
    packet::{Packet, Version},
};
use crate::dialect::{Encoding, Payload, Shared};

/// Messages of one version of the protocol.
#[derive(Debug)]
pub(super) struct Messages(Version);

pub(super) static V3: Messages = Messages(Version::V3);
pub(super) static V5: Messages = Messages(Version::V5);

impl Encoding for Messages {
    fn name(&self) -> &'static str {
        match self.0 {
            Version::V3 => "mqtt 3.1.1",
            Version::V5 => "mqtt 5.0",
        }
    }

    fn publication(&self, publication: &Publication) -> Shared {
        // The expiry is computed as of the publication's own time: these subscriptions are live,
        // and receive it at once.
        let message = content::message(publication, self.0, publication.time_ms);
        let bytes = message.map(|mut message| {
            // 3.1.1 §3.3.1.3: the flag is set only on messages that were retained before the
            // SUBSCRIBE.
            message.publish.retain = false;
            Packet::Publish(message.publish).encode(self.0)
        });
        Shared::whole(Payload::Binary(bytes.unwrap_or_default()))
    }

    fn is_timed(&self, publication: &Publication) -> bool {
        content::expires(publication)
    }

    fn presence(&self, _change: &PresenceChange) -> Option<Shared> {
        None
    }
}
