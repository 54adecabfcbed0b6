//! The sources' part of a reload: those that change are stopped before the next version starts, on the same socket.

use veltrix_actors::{DurabilityKind, Stop};

use super::plan::Plan;
use super::wiring::Wiring;
use crate::config::{Config, SourceConfig};

impl Wiring {
    /// Has sources that come listen on the sockets of those that go, so that nobody who connects meanwhile is refused.
    fn hand_on_sockets(&self, plan: &Plan, before: &Config) {
        let leaving = || plan.sources.changed.iter().chain(&plan.sources.removed);
        for name in plan.sources.new_ones() {
            let Some(next) = find_source(&self.config, name).factory.listening() else {
                continue;
            };
            // Port 0 is another one for each source.
            let is_heir = |former: &&String| *former == name || next.address().port() != 0;
            for former in leaving().filter(is_heir) {
                let former = find_source(before, former).factory.listening();
                if let Some(Err(error)) = former.map(|former| former.hand_on(next)) {
                    tracing::warn!(source = name, %error, "its socket is closed while it is exchanged");
                }
            }
        }
    }

    /// Sources that go, change and come. What cannot be started stays away.
    pub(super) async fn exchange_sources(
        &mut self,
        plan: &Plan,
        before: &Config,
    ) -> Result<(), String> {
        self.hand_on_sockets(plan, before);
        for name in &plan.sources.removed {
            let how = way_to_stop(before, name);
            self.leaving.source(&self.tree, name, how);
        }
        for name in &plan.sources.changed {
            let how = way_to_stop(before, name);
            self.tree.places.sources.remove(name, how).await;
            self.tree.stop_thread("sources", name);
        }
        // An address of one may be another's from now on.
        for name in &plan.sources.removed {
            if way_to_stop(before, name) == Stop::HandOver {
                self.leaving.wait_for(&format!("sources/{name}")).await;
            }
        }
        let config = self.config.clone();
        let mut failures = Vec::new();
        for name in plan.sources.new_ones() {
            self.leaving.wait_for(&format!("sources/{name}")).await;
            let source = find_source(&config, name);
            self.tree.registry.begin_source(name);
            let child = self.tree.source_child(&config, source);
            let started = self.tree.places.sources.add(child).await;
            if let Err(reason) = started {
                if let Some(listening) = source.factory.listening() {
                    listening.let_go();
                }
                failures.push(format!("sources.{name}: {reason}"));
            }
        }
        match failures.is_empty() {
            true => Ok(()),
            false => Err(failures.join("; ")),
        }
    }
}

/// A stored cursor is at what is finished: the source's next version would take in again what this one has under way.
fn way_to_stop(config: &Config, source: &str) -> Stop {
    match find_source(config, source).durability {
        DurabilityKind::Upstream => Stop::Drain,
        DurabilityKind::Journal | DurabilityKind::None => Stop::HandOver,
    }
}

fn find_source<'a>(config: &'a Config, name: &str) -> &'a SourceConfig {
    let found = config.sources.iter().find(|source| source.name == name);
    found.expect("the plan names what the config has")
}
