//! Calls to the backend.

use std::sync::Arc;

use crate::{
    ask::{AskRule, Wish},
    command::Command,
    error::{ErrorCode, Refusal},
    session::Identity,
};

use super::{
    Engine,
    asks::too_many_questions,
    commands::named,
    state::{Asked, Asker},
};

impl Engine {
    /// Passes a call to the backend.
    pub(super) fn call(
        &mut self,
        asker: Asker,
        identity: Option<&Arc<Identity>>,
        call: Command,
    ) -> Result<(), Refusal> {
        let Command::Call {
            method,
            data,
            format,
            within,
            key,
        } = call
        else {
            debug_assert!(false, "only calls come here");
            return Ok(());
        };
        self.within_size(&data)?;
        let access = self.rules.call_access();
        if let Some(identity) = identity
            && !identity.may_call(access, &method)
        {
            let detail = format!("{} may not call {method}", named(identity));
            return Err(Refusal::new(ErrorCode::Forbidden, detail));
        }
        if self.asks.len() >= self.limits.requests {
            return Err(too_many_questions());
        }
        self.in_flight(asker)?;
        let connection = match asker {
            Asker::Connection(connection, _) => Some(connection),
            Asker::Caller(_) => None,
        };
        let limit = self.limits.call_within;
        let rule = AskRule {
            within: within.unwrap_or(limit).min(limit),
            ..AskRule::default()
        };
        let wish = Wish::Call {
            method,
            data,
            format,
            key,
        };
        self.ask(Asked::Call { asker }, rule, connection, wish);
        Ok(())
    }
}
