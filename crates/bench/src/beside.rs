//! Beside whom ours is measured, and with what: what `run` and `multipart` are told alike.

use anyhow::Result;

use crate::load::Payload;
use crate::stack::{Stack, StackArgs};
use crate::target::{Target, TargetSpec};

/// Flags of what measures targets side by side.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct BesideArgs {
    /// How bodies are signed.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) payload: Payload,
    /// Of keys and bodies.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// A rival: `NAME=URL,ACCESS,SECRET,BUCKET[,region=R][,pid=N]…`
    #[arg(long, value_name = "NAME=URL,ACCESS,SECRET,BUCKET")]
    target: Vec<TargetSpec>,
    /// Without the backend by itself.
    #[arg(long)]
    no_direct: bool,
    /// Without nginx.
    #[arg(long)]
    no_nginx: bool,
    /// Without ours: nginx against rivals.
    #[arg(long)]
    pub(crate) no_ours: bool,
    #[command(flatten)]
    stack: StackArgs,
}

impl BesideArgs {
    /// The rivals, which run already.
    pub(crate) fn rivals(&self) -> Result<Vec<Target>> {
        self.target.iter().cloned().map(Target::rival).collect()
    }

    /// Starts what all targets need, and says where its data are.
    pub(crate) async fn start(&self) -> Result<Stack> {
        let stack = Stack::start(&self.stack).await?;
        eprintln!("data and logs: {}", stack.folder().display());
        Ok(stack)
    }

    /// The backend by itself and nginx, where they are wanted.
    pub(crate) async fn plain(&self, stack: &mut Stack) -> Result<Vec<Target>> {
        let mut targets = Vec::new();
        if !self.no_direct {
            targets.push(stack.direct());
        }
        if !self.no_nginx {
            targets.push(stack.nginx().await?);
        }
        Ok(targets)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        beside: BesideArgs,
    }

    #[test]
    fn all_but_rivals_unless_it_is_said() {
        let read = |words: &[&str]| Arguments::parse_from([&["x"][..], words].concat()).beside;
        let usual = read(&[]);
        assert!(!usual.no_direct && !usual.no_nginx && !usual.no_ours);
        assert_eq!((usual.seed, usual.rivals().expect("none").len()), (1, 0));
        let rival = read(&["--no-nginx", "--seed", "7", "--target", "other=http://127.0.0.1:9,a,s,b"]);
        assert!(!rival.no_direct && rival.no_nginx);
        assert_eq!((rival.seed, rival.rivals().expect("one").len()), (7, 1));
    }
}
