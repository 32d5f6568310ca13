//! Processes: started here, ended with us, and what each of them costs.

mod child;
mod ports;
mod usage;

pub(crate) use child::{Child, binary};
pub(crate) use ports::{free_port, wait_for_port};
pub(crate) use usage::{Cpu, Groups, Memory};
