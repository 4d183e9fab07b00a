//! The error of a server that cannot start says why, and what to do.

use std::{error::Error, fs};

use offhook_server::{Config, Server, StartError};

use crate::hall::{Hall, config, on_disk};

#[tokio::test]
async fn a_log_in_use_by_another_server_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let first = Hall::open(on_disk(directory.path())).await;
    let error = Server::start(on_disk(directory.path())).await.unwrap_err();
    assert!(matches!(error, StartError::Log(_)), "{error:?}");
    let why = error.source().unwrap().to_string();
    assert!(why.contains("in use") || why.contains("another"), "{why}");
    first.close().await;
    Hall::open(on_disk(directory.path())).await.close().await;
}

#[tokio::test]
async fn several_servers_can_share_one_address() {
    let first = Hall::open(config()).await;
    let second = Config {
        listen: vec![first.address().into()],
        ..config()
    };
    // Sharing requires the setting.
    let alone = Server::start(second.clone()).await;
    assert!(matches!(alone, Err(StartError::Listen { .. })), "{alone:?}");
    let second = Config {
        share_port: true,
        ..second
    };
    let second = Hall::open(second).await;
    assert_eq!(first.address(), second.address());
    // The kernel distributes connections to both servers: of this many, some go to each.
    let mut callers = Vec::new();
    for _ in 0..40 {
        callers.push(first.caller().await);
    }
    let connections = first.health().await.1["connections"].as_u64().unwrap();
    assert!(
        connections < 40,
        "one server has {connections} of 40 connections"
    );
}

#[tokio::test]
async fn the_errors_for_an_address_in_use_and_a_directory_that_is_a_file_name_them() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = Server::start(Config {
        listen: vec![address.into()],
        ..config()
    });
    let error = error.await.unwrap_err().to_string();
    assert!(
        error.contains(&address.to_string()) && error.contains("in use"),
        "{error}"
    );

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Server::start(on_disk(&file)).await.unwrap_err();
    assert!(matches!(error, StartError::File { .. }), "{error:?}");

    let nowhere = Config {
        listen: Vec::new(),
        ..config()
    };
    assert!(matches!(
        Server::start(nowhere).await,
        Err(StartError::NoAddress)
    ));
}
