//! Connections of the Pusher protocol. The path names the app, and the query the version.

use std::sync::Arc;

use offhook::protocol::handshake::Request;
use offhook_auth::{App, AppKey, apps_of};
use offhook_dialects::pusher::{self, Pusher, Refused, Settings};

use crate::worker::{Shared, Speaker};

/// The path of clients, before the key of their app.
pub(super) const CLIENTS: &str = "/app/";

/// The secrets of an app, which verify signatures for its connections.
#[derive(Debug)]
struct Secrets(Arc<App>);

impl pusher::Signing for Secrets {
    fn is_signed(&self, auth: &str, text: &str) -> bool {
        self.0.is_signed(auth, text)
    }
}

/// The configured apps.
#[derive(Debug)]
pub(crate) struct Apps(Vec<(Arc<App>, pusher::App)>);

impl Apps {
    pub(crate) fn of(entries: &[AppKey]) -> Self {
        let apps = apps_of(entries);
        let prefixes: Vec<Box<str>> = apps.iter().map(|app| app.prefix().into()).collect();
        let apps = apps.into_iter().map(|app| {
            let app = Arc::new(app);
            let is_below =
                |other: &str| other.len() > app.prefix().len() && other.starts_with(app.prefix());
            let below = prefixes.iter().filter(|other| is_below(other));
            let for_connections = pusher::App {
                prefix: app.prefix().into(),
                others: below.cloned().collect(),
                secrets: Arc::new(Secrets(Arc::clone(&app))),
            };
            (app, for_connections)
        });
        Self(apps.collect())
    }

    /// Whether there are no apps. The protocol is not served then.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The app with this id.
    pub(crate) fn by_id(&self, id: &str) -> Option<&Arc<App>> {
        let found = self.0.iter().find(|(app, _)| app.id() == id);
        found.map(|(app, _)| app)
    }

    /// Whether the name of a channel or a user belongs to this app, and not to another one whose
    /// prefix begins with this app's.
    pub(crate) fn is_of(&self, app: &App, name: &str) -> bool {
        let owner = self.owner(name);
        owner.is_some_and(|owner| owner.id() == app.id())
    }

    /// The app to which the name of a channel or a user belongs: the one with the longest prefix.
    pub(crate) fn owner(&self, name: &str) -> Option<&App> {
        let apps = self.0.iter().map(|(app, _)| &**app);
        let apps = apps.filter(|app| name.starts_with(app.prefix()));
        apps.max_by_key(|app| app.prefix().len())
    }

    fn by_key(&self, key: &str) -> Option<&pusher::App> {
        let found = self.0.iter().find(|(app, _)| app.has_key(key));
        found.map(|(_, app)| app)
    }
}

/// The state of a new connection.
pub(super) fn speak(shared: &Shared, request: &Request) -> Speaker {
    let config = &shared.config.pusher;
    let app = app(&shared.apps, request);
    let settings = Settings {
        reports: !config.webhooks.is_empty(),
        app,
        activity_timeout: config.activity_timeout,
        client_events: config.client_events,
    };
    Speaker::Other(Box::new(Box::new(Pusher::new(settings))))
}

fn app(apps: &Apps, request: &Request) -> Result<pusher::App, Refused> {
    let query = request.query().unwrap_or_default().split('&');
    let mut versions = query.filter_map(|pair| pair.strip_prefix("protocol="));
    Refused::check_version(versions.next())?;
    let key = request.path().strip_prefix(CLIENTS).unwrap_or_default();
    apps.by_key(key).cloned().ok_or(Refused::NoApp)
}
