//! What a session is told without having asked: configuration, the database's health, whose month is used up, commands.

use std::convert::Infallible;
use std::time::Duration;

use s3o_proto::v1;
use s3o_proto::v1::session_down::Message;
use tokio::sync::{broadcast, mpsc};
use tonic::Status;
use tracing::debug;
use uuid::Uuid;

use super::configuration::configuration;
use crate::wiring::{Ports, Wiring};

/// How often the database's reachability is looked at; reading it costs nothing.
const LOOK: Duration = Duration::from_millis(250);

/// How often it is looked whose month is used up, where months are limited.
const LOOK_AT_LIMITS: Duration = Duration::from_secs(10);

/// The data plane does not listen any more.
#[derive(Debug)]
pub(super) struct Gone;

/// The way down.
pub(super) struct Down {
    pub(super) wiring: Wiring,
    pub(super) out: mpsc::Sender<Result<v1::SessionDown, Status>>,
}

impl Down {
    pub(super) async fn send(&self, message: Message) -> Result<(), Gone> {
        let required_features = self.wiring.required_features();
        self.out
            .send(Ok(v1::SessionDown { message: Some(message), required_features }))
            .await
            .map_err(|_| Gone)
    }

    pub(super) async fn refuse(&self, status: Status) -> Result<(), Gone> {
        self.out.send(Err(status)).await.map_err(|_| Gone)
    }

    /// Pushes until nobody listens.
    pub(super) async fn push(&self, ports: &Ports, session: Uuid) -> Result<Infallible, Gone> {
        // Subscribed before anything else is sent, so that no command falls between.
        let commands = self.wiring.commands.subscribe();
        let ended = tokio::select! {
            ended = self.configurations(ports) => ended,
            ended = self.database(ports) => ended,
            ended = self.spent(ports) => ended,
            ended = self.commands(commands, session) => ended,
            () = self.out.closed() => Err(Gone),
        };
        ended
    }

    /// The newest one first, whatever the data plane has: only it can tell whether it is newer.
    async fn configurations(&self, ports: &Ports) -> Result<Infallible, Gone> {
        let mut config = ports.configs.current();
        loop {
            self.send(Message::Configuration(configuration(&config))).await?;
            config = ports.configs.newer_than(config.generation).await;
        }
    }

    async fn database(&self, ports: &Ports) -> Result<Infallible, Gone> {
        let mut told = None;
        loop {
            let reachable = ports.sessions.database_reachable();
            if told != Some(reachable) {
                self.send(Message::Database(v1::DatabaseHealth { reachable })).await?;
                told = Some(reachable);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// A session begins with none, and is told when that changes.
    async fn spent(&self, ports: &Ports) -> Result<Infallible, Gone> {
        let mut told = Vec::new();
        loop {
            match ports.overview.spent(&ports.configs.current()).await {
                Ok(spent) if spent != told => {
                    let backends = spent.iter().map(|id| id.0).collect();
                    self.send(Message::Spent(v1::SpentBackends { backends })).await?;
                    told = spent;
                }
                Ok(_) => {}
                Err(error) => debug!(%error, "whose month is used up is not known"),
            }
            tokio::time::sleep(LOOK_AT_LIMITS).await;
        }
    }

    async fn commands(
        &self,
        mut commands: broadcast::Receiver<super::commands::Addressed>,
        session: Uuid,
    ) -> Result<Infallible, Gone> {
        loop {
            match commands.recv().await {
                Ok(addressed) if addressed.is_for(session) => {
                    self.send(Message::Command(addressed.command.into())).await?;
                }
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}
