//! Topics below `$SYS/broker/`: figures about the server, under the names that other MQTT servers
//! use.

use std::{rc::Rc, time::Duration};

use offhook_engine::{ChannelName, Command, Format, Tags};
use tokio::time::{MissedTickBehavior, interval};

use super::Worker;
use crate::{
    config::SYSTEM_CHANNELS,
    metrics::{Counter, WorkerMetrics},
};

impl Worker {
    /// Publishes the figures at a regular interval. The first worker does this for all workers.
    pub(super) async fn publish_system(self: Rc<Self>) {
        let every = self.shared.config.mqtt.sys_interval;
        let Some(every) = every.filter(|_| self.number == 0) else {
            return;
        };
        // An interval of zero is not possible.
        let mut ticks = interval(every.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // The replies are ignored: if a rule refuses the channel, nobody can subscribe to it
            // either.
            let _replies = self.command(self.system_topics()).await;
        }
    }

    fn system_topics(&self) -> Vec<Command> {
        let shared = &self.shared;
        let sum = |of: fn(&WorkerMetrics) -> &Counter| shared.metrics.sum(of).to_string();
        let uptime = shared.started.elapsed().as_secs();
        let topics = [
            ("version", format!("offhook {}", env!("CARGO_PKG_VERSION"))),
            ("uptime", format!("{uptime} seconds")),
            ("clients/connected", shared.connections().to_string()),
            ("messages/received", sum(|worker| &worker.received_messages)),
            ("messages/sent", sum(|worker| &worker.deliveries)),
            ("publish/messages/received", sum(|worker| &worker.published)),
            ("subscriptions/count", sum(|worker| &worker.subscriptions)),
        ];
        let commands = topics.into_iter().filter_map(|(topic, text)| {
            Some(Command::Publish {
                channel: ChannelName::new(&format!("{SYSTEM_CHANNELS}broker/{topic}")).ok()?,
                data: text.into(),
                format: Format::Text,
                tags: Tags::default(),
                key: None,
            })
        });
        commands.collect()
    }
}
