//! One connection used from many threads at once: whatever happens to it, no task waits forever.

use std::io::ErrorKind;

use offhook::protocol::{CloseCode, Kind};
use offhook::{Error, Link, Pair, Sender, Settings, WebSocket};
use tokio::task::JoinSet;

/// Uses a sender in every way until the connection has ended.
async fn use_in_every_way(sender: Sender, task: usize) {
    for turn in task.. {
        let done = match turn % 6 {
            0 => sender.send(vec![0; turn % 300]).await,
            1 => match sender.try_send("short") {
                Err(Error::Full) => Ok(()),
                result => result,
            },
            2 => sender.flush().await,
            3 => sender.ping().await.map(drop),
            4 => sender.send_urgent("urgent").await,
            _ => stream(&sender).await,
        };
        if let Err(error) = done {
            assert!(
                matches!(error, Error::Closing | Error::Closed(_)),
                "{error:?}"
            );
            break;
        }
    }
    sender.ended().await;
}

async fn stream(sender: &Sender) -> Result<(), Error> {
    let mut writer = sender.send_stream(Kind::Binary).await?;
    writer.write(vec![0; 200]).await?;
    writer.finish(vec![0; 200]).await
}

async fn receive_to_the_end(mut socket: WebSocket, until: usize, link: Link, end: usize) {
    let mut received = 0;
    while let Ok(Some(_)) = socket.recv().await {
        received += 1;
        if received == until {
            match end {
                0 => socket.sender().close(CloseCode::NORMAL, "").unwrap(),
                1 => return,
                2 => link.cut(),
                _ => link.fail(ErrorKind::ConnectionReset),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_end_of_a_connection_reaches_all_its_users() {
    for round in 0..80 {
        let settings = Settings::default().send_buffer(300);
        let pair = Pair::new().capacity(200).settings(&settings);
        let (client, server, link) = pair.open();
        let mut tasks = JoinSet::new();
        for task in 0..8 {
            tasks.spawn(use_in_every_way(client.sender(), task));
            tasks.spawn(use_in_every_way(server.sender(), task));
        }
        tasks.spawn(receive_to_the_end(
            client,
            50 + round,
            link.clone(),
            round % 4,
        ));
        tasks.spawn(receive_to_the_end(server, usize::MAX, link, 0));
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
    }
}
