//! Injects the planned faults.

use std::{fs, io, time::Duration};

use tokio::time::Instant;

use super::{Resume, Runner};
use crate::{
    faults::{FROZEN, Fault},
    server::{copy_log, delete_resume_key},
};

/// How often the count of failed fsyncs is read while one is awaited.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

impl Runner<'_> {
    pub(super) async fn inject(&mut self, fault: Fault) -> io::Result<()> {
        let now = Instant::now();
        match fault {
            Fault::CutConnections { percent } => {
                self.broken.cut += self.network.cut(percent, &mut self.random);
            }
            Fault::FreezeConnections { percent, time } => {
                self.broken.frozen_connections += self.network.freeze(percent, &mut self.random);
                self.frozen.push((now + time, Resume::Connections));
            }
            Fault::FreezeProcess { number, time } => {
                self.broken.frozen_processes += 1;
                self.processes.freeze(number);
                self.frozen.push((now + time, Resume::Process(number)));
            }
            Fault::KillServer { time, keeps_key } => {
                self.until_server_runs().await?;
                self.broken.kills += 1;
                self.network.forward_to(None);
                if let Some(server) = self.server.take() {
                    server.kill().await?;
                }
                if !keeps_key {
                    self.broken.keys_deleted += 1;
                    delete_resume_key(self.directory)?;
                }
                self.listen_until(now + time).await?;
                self.start_server().await?;
            }
            Fault::FreezeServer { time } => {
                if let Some(server) = &self.server {
                    self.broken.frozen_server += 1;
                    server.freeze();
                    self.frozen.push((now + time, Resume::Server));
                }
            }
            Fault::RestartServer => {
                self.until_server_runs().await?;
                self.broken.stops += 1;
                self.network.forward_to(None);
                if let Some(server) = self.server.take() {
                    self.listen_while(server.stop()).await??;
                }
                self.start_server().await?;
            }
            Fault::SetClock { ahead } => {
                if let Some(system) = &self.system {
                    system.set_clock(ahead)?;
                    self.broken.clock_steps += 1;
                }
            }
            Fault::FailFsync => self.fail_fsync().await?,
            Fault::BackUp => self.back_up().await?,
            Fault::RestoreBackup => self.restore().await?,
        }
        Ok(())
    }

    /// Waits until an fsync has failed: a server that is killed before it next writes would never see the
    /// fault. There may be nothing to write for as long as the publishers are frozen.
    async fn fail_fsync(&mut self) -> io::Result<()> {
        self.until_server_runs().await?;
        let Some(system) = &self.system else {
            return Ok(());
        };
        let before = system.failed_fsyncs()?;
        system.fail_fsyncs(1)?;
        let end = Instant::now() + 2 * FROZEN.1;
        while Instant::now() < end
            && let Some(system) = &self.system
            && system.failed_fsyncs()? == before
        {
            self.listen_until(Instant::now() + LOOK_AGAIN).await?;
        }
        Ok(())
    }

    /// A frozen server stays so for its time: nothing else happens to it meanwhile.
    async fn until_server_runs(&mut self) -> io::Result<()> {
        let is_server = |frozen: &&(Instant, Resume)| matches!(frozen.1, Resume::Server);
        while let Some((at, _)) = self.frozen.iter().find(is_server).copied() {
            self.listen_until(at).await?;
            self.resume_due();
        }
        Ok(())
    }

    /// A server that keeps everything in memory has nothing to back up.
    async fn back_up(&mut self) -> io::Result<()> {
        if !self.directory.join("data").join("log").exists() {
            return Ok(());
        }
        self.until_server_runs().await?;
        let name = format!("backup-{}", self.broken.backups);
        let backup = self.directory.join(name);
        let copied = copy_log(self.plan, self.directory, "backup", &backup);
        self.listen_while(copied).await??;
        self.broken.backups += 1;
        if let Some(older) = self.backup.replace(backup) {
            fs::remove_dir_all(older)?;
        }
        Ok(())
    }

    async fn restore(&mut self) -> io::Result<()> {
        let Some(backup) = self.backup.clone() else {
            return Ok(());
        };
        self.until_server_runs().await?;
        self.network.forward_to(None);
        if let Some(server) = self.server.take() {
            server.kill().await?;
        }
        fs::remove_dir_all(self.directory.join("data").join("log"))?;
        let copied = copy_log(self.plan, self.directory, "restore", &backup);
        self.listen_while(copied).await??;
        self.broken.restores += 1;
        self.start_server().await
    }
}
