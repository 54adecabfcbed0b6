//! Supervision by Erlang/OTP's rules: children as data, ordered start, restart within a budget, reverse-order stop.

mod backoff;
mod budget;
mod child;
mod children;
mod membership;
mod stopping;
mod strategy;
mod supervisor;

pub use backoff::Backoff;
pub(crate) use backoff::jitter_sample;
pub use budget::RestartBudget;
pub use child::{
    ChildEvent, ChildHandle, ChildSpec, ExitReason, Lifeline, Restart, RootWatch, StartError, Stop,
};
pub use membership::SupervisorPlace;
pub use strategy::{AutoShutdown, Strategy};
pub use supervisor::Supervisor;
