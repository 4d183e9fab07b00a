//! Pages whose origin may not connect are told what to change, and so is the operator.

use offhook::protocol::handshake::{Carrier, Rejection, Response};

use super::refusal;
use crate::worker::Worker;

/// What is wrong and what to do, for the answer and for the log.
pub(crate) fn explanation(origin: &str) -> String {
    format!(
        "pages from {origin} may not connect here; to allow them, add the origin to the server's \
         setting `origins` (--origins {origin}); docs/origins.md explains it"
    )
}

/// The answer to an invalid handshake, which is logged.
pub(crate) fn rejected(worker: &Worker, rejection: &Rejection) -> Response {
    let Rejection::OriginDenied { origin } = rejection else {
        worker.note_refused("handshake", rejection);
        return rejection.response(Carrier::Upgrade);
    };
    let explanation = explanation(origin);
    worker.note_refused("origin", &explanation);
    refusal(rejection.status(), &explanation).response(Carrier::Upgrade)
}
