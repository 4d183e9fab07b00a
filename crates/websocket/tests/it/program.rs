//! Real programs as peers, each on its own free port.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

/// A program that listens; it is ended and cleaned up when this is dropped.
pub(crate) struct Program {
    pub(crate) port: u16,
    folder: PathBuf,
    _child: Child,
}

impl Program {
    /// Starts a program of a Debian package, and waits until it listens. `None`, with a message, if
    /// it is not installed; on CI that is a failure.
    pub(crate) async fn start(
        program: &str,
        package: &str,
        arguments: impl FnOnce(u16, &Path) -> Vec<OsString>,
    ) -> Option<Self> {
        let port = free_port().await;
        let folder = std::env::temp_dir().join(format!("offhook-{program}-{port}"));
        std::fs::create_dir_all(&folder).unwrap();
        let spawned = Command::new(program)
            .args(arguments(port, &folder))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) => {
                let missing =
                    format!("{program} can't be run ({error}): apt-get install {package}");
                assert!(std::env::var_os("CI").is_none(), "{missing}");
                println!("not run: {missing}");
                return None;
            }
        };
        listening(&mut child, program, port).await;
        Some(Self {
            port,
            folder,
            _child: child,
        })
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

async fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}

/// The program does not report when it listens: try until it does, or has ended.
async fn listening(child: &mut Child, program: &str, port: u16) {
    let mut again = tokio::time::interval(std::time::Duration::from_millis(5));
    while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none(), "{program} ended: {ended:?}");
        again.tick().await;
    }
}
