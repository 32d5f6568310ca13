//! Several statements in one round trip.
//!
//! Invariant: they go out in the order in which they were added, and `COMMIT` goes out only when every
//! one before it did: a statement that cannot even be encoded must not leave a transaction half done.
//! One that PostgreSQL refuses makes it roll back whatever follows, `COMMIT` included.

use std::pin::Pin;
use std::task::Poll;

use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

use crate::connection::{ANSWER_PATIENCE, Connection};
use crate::error::Failure;

/// A parameter that a flight owns.
pub(crate) type Param = Box<dyn ToSql + Sync + Send>;

type Answer = Result<Vec<Row>, Failure>;

enum Sent<'a> {
    Waiting(Pin<Box<dyn Future<Output = Answer> + Send + 'a>>),
    Done(Answer),
}

/// Statements on their way.
pub(crate) struct Flight<'a> {
    connection: &'a Connection,
    sent: Vec<Sent<'a>>,
}

impl<'a> Flight<'a> {
    pub(crate) const fn new(connection: &'a Connection) -> Self {
        Self { connection, sent: Vec::new() }
    }

    /// Sends a statement that was prepared on this connection.
    pub(crate) async fn add(&mut self, sql: &'static str, params: Vec<Param>) -> Result<(), Failure> {
        let statement: Statement = self.connection.prepared(sql)?.clone();
        let client = self.connection.client();
        self.send(async move {
            let params: Vec<&(dyn ToSql + Sync)> =
                params.iter().map(|p| &**p as &(dyn ToSql + Sync)).collect();
            Ok(client.query(&statement, &params).await?)
        })
        .await
    }

    /// Sends text without parameters.
    pub(crate) async fn add_text(&mut self, sql: &'static str) -> Result<(), Failure> {
        let client = self.connection.client();
        self.send(async move {
            client.batch_execute(sql).await?;
            Ok(Vec::new())
        })
        .await
    }

    /// The driver sends in the first poll; what is ready then failed before it was sent.
    async fn send(&mut self, answer: impl Future<Output = Answer> + Send + 'a) -> Result<(), Failure> {
        let mut answer: Pin<Box<dyn Future<Output = Answer> + Send + 'a>> = Box::pin(answer);
        match futures::poll!(&mut answer) {
            Poll::Ready(Err(failure)) => Err(failure),
            Poll::Ready(done) => {
                self.sent.push(Sent::Done(done));
                Ok(())
            }
            Poll::Pending => {
                self.sent.push(Sent::Waiting(answer));
                Ok(())
            }
        }
    }

    /// Waits for all answers; the first failure, in order, is the flight's.
    pub(crate) async fn land(self) -> Result<Vec<Vec<Row>>, Failure> {
        let all = async {
            let mut answers = Vec::with_capacity(self.sent.len());
            for sent in self.sent {
                answers.push(match sent {
                    Sent::Waiting(answer) => answer.await?,
                    Sent::Done(answer) => answer?,
                });
            }
            Ok(answers)
        };
        timeout(ANSWER_PATIENCE, all)
            .await
            .unwrap_or_else(|_| Err(Failure::Lost("the database does not answer".to_owned())))
    }
}
