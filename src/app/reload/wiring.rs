//! The running tree and its config, and how another config is taken over step by step.
//!
//! Whatever can fail comes first and is undone when it does; then the router goes by the new routes, between two batches.

use std::sync::Arc;

use actix_rt::Arbiter;
use tokio::sync::oneshot;
use veltrix_actors::mailbox::Inlet;
use veltrix_actors::{DurabilityKind, HandlerFactory, Stop, Successor, Target};

use super::super::branches::Lanes;
use super::super::overflow;
use super::super::tree::Tree;
use super::leaving::Leaving;
use super::plan::Plan;
use super::probation::{Mark, Probation};
use crate::config::{Config, HandlerConfig, SinkConfig, SourceConfig};

/// What runs.
pub(in super::super) struct Wiring {
    pub(super) tree: Tree,
    /// What it runs by.
    pub(super) config: Arc<Config>,
    pub(super) leaving: Leaving,
    /// The handlers that the last reload has begun, with their counts at that time.
    pub(super) begun: Vec<Mark>,
}

/// What was done of a reload and would have to be undone.
#[derive(Default)]
struct Done {
    added_sinks: Vec<String>,
    changed_sinks: Vec<String>,
    added_handlers: Vec<String>,
    /// With the lanes of their former versions.
    changed_handlers: Vec<(String, Lanes)>,
}

impl Wiring {
    pub(in super::super) fn new(tree: Tree, config: Arc<Config>) -> Self {
        Self {
            tree,
            config,
            leaving: Leaving::default(),
            begun: Vec::new(),
        }
    }

    /// Whether the tree is about to end: its supervisors start nothing any more.
    pub(super) fn is_draining(&self) -> bool {
        self.tree.registry.is_stopping()
    }

    /// Why the process would have to be started anew for this config; empty if it need not.
    pub(super) fn obstacles(&self, next: &Config) -> Vec<String> {
        let mut found = self.config.fixed.differences(&next.fixed);
        let is_lacking = |source: &&SourceConfig| match source.durability {
            DurabilityKind::None => false,
            DurabilityKind::Journal => !self.tree.has_journal,
            DurabilityKind::Upstream => !self.tree.is_durable,
        };
        let sources = next.sources.iter().filter(is_lacking);
        found.extend(sources.map(|source| {
            format!(
                "sources.{}.durability (the process was started without a journal)",
                source.name
            )
        }));
        found
    }

    /// Takes the config over.
    ///
    /// # Errors
    /// Why not; everything goes on as before.
    pub(super) async fn take_over(&mut self, next: Arc<Config>) -> Result<Plan, String> {
        let plan = Plan::between(&self.config, &next);
        self.tree.places.sources.unsettle();
        let taken = self.carry_out(&plan, &next).await;
        self.tree.places.sources.settle();
        taken.map(|()| plan)
    }

    async fn carry_out(&mut self, plan: &Plan, next: &Arc<Config>) -> Result<(), String> {
        let before = self.config.clone();
        self.exchange_branches(plan, next).await?;
        let exchanged = self.exchange_sources(plan, &before).await;
        if exchanged.is_err() {
            self.go_back(&before).await;
        }
        exchanged
    }

    /// All of it has been started before; what cannot be started again stays away, and the rest goes on.
    async fn go_back(&mut self, before: &Arc<Config>) {
        let failed = self.config.clone();
        let back = Plan::between(&failed, before);
        let exchanged = self.exchange_branches(&back, before).await;
        if exchanged.is_ok() {
            let exchanged = self.exchange_sources(&back, &failed).await;
            self.complain(exchanged);
        }
        self.complain(exchanged);
    }

    /// Sinks, handlers and routes; everything is as before if one of them cannot be started.
    async fn exchange_branches(&mut self, plan: &Plan, next: &Arc<Config>) -> Result<(), String> {
        let mut done = Done::default();
        if let Err(reason) = self.build(plan, next, &mut done).await {
            self.undo(done).await;
            return Err(reason);
        }
        self.rewire(plan, next, done.changed_handlers).await;
        self.config = next.clone();
        Ok(())
    }

    /// Starts what is new, beside what runs; the routes stay.
    async fn build(&mut self, plan: &Plan, next: &Config, done: &mut Done) -> Result<(), String> {
        let handlers = plan.handlers.new_ones();
        try_out(handlers.map(|name| find_handler(next, name)).collect()).await?;
        for name in &plan.sinks.added {
            let sink = find_sink(next, name);
            if let Some(target) = self.leaving.keep_sink(name).await {
                self.tree.sinks.insert(name.clone(), target);
                done.changed_sinks.push(name.clone());
                self.exchange_sink(sink).await?;
                continue;
            }
            done.added_sinks.push(name.clone());
            self.add_sink(next, sink).await?;
        }
        for name in &plan.sinks.changed {
            done.changed_sinks.push(name.clone());
            self.exchange_sink(find_sink(next, name)).await?;
        }
        self.stop_changed(plan, done).await;
        for name in plan.handlers.new_ones() {
            let handler = find_handler(next, name);
            let lanes = Lanes::new(handler, &mut self.tree.arbiters);
            let successor = lanes.as_successor();
            self.tree.lanes.insert(name.clone(), lanes);
            if !done
                .changed_handlers
                .iter()
                .any(|(changed, _)| changed == name)
            {
                self.leaving.take_over(name, successor).await;
                done.added_handlers.push(name.clone());
            }
            // Before they start: they may have been given a thread that hangs.
            self.tree.watch_handler(handler);
            self.start_handler(next, handler).await?;
        }
        Ok(())
    }

    /// Has the lanes of all changed handlers end at the same time; their events wait at their inlets until the router knows
    /// the new ones.
    async fn stop_changed(&mut self, plan: &Plan, done: &mut Done) {
        for name in &plan.handlers.changed {
            let lanes = self.tree.lanes.remove(name);
            done.changed_handlers
                .extend(lanes.map(|lanes| (name.clone(), lanes)));
        }
        let handlers = &self.tree.places.handlers;
        let stopped = done.changed_handlers.iter().map(async |(name, lanes)| {
            handlers.remove(name, Stop::HandOver).await;
            lanes.leave_hung();
            self.forget_handler(name);
        });
        futures::future::join_all(stopped).await;
    }

    /// The next version has actors of its own, with other inlets.
    fn forget_handler(&self, name: &str) {
        let actors = &self.tree.registry.actors;
        actors.forget(&format!("handlers/{name}"));
    }

    async fn start_handler(&self, config: &Config, handler: &HandlerConfig) -> Result<(), String> {
        let child = self.tree.handler_child(config, handler);
        let started = self.tree.places.handlers.add(child).await;
        started.map_err(|reason| format!("handlers.{}: {reason}", handler.name))
    }

    async fn add_sink(&mut self, config: &Config, sink: &SinkConfig) -> Result<(), String> {
        let name = &sink.name;
        let target = Target {
            inlet: Inlet::new(),
            sink: Some(self.tree.registry.sink(name)),
            spillway: self.tree.is_durable.then(|| overflow::new_spillway(name)),
        };
        self.tree.sinks.insert(name.clone(), target);
        if let Some(log) = self.tree.overflow_child(config, name) {
            let added = self.tree.places.overflow.add(log).await;
            added.map_err(|reason| format!("sinks.{name}: its overflow log: {reason}"))?;
        }
        self.start_sink(sink).await?;
        self.tree.watch_sink(name);
        Ok(())
    }

    async fn start_sink(&mut self, sink: &SinkConfig) -> Result<(), String> {
        let child = self.tree.sink_child(sink);
        let started = self.tree.places.sinks.add(child).await;
        started.map_err(|reason| format!("sinks.{}: {reason}", sink.name))
    }

    /// Another version of the sink at the same place. What the one before has not delivered is its successor's.
    async fn exchange_sink(&mut self, sink: &SinkConfig) -> Result<(), String> {
        self.tree.sinks[&sink.name].inlet.shut();
        self.stop_sink(&sink.name, Stop::HandOver).await;
        self.start_sink(sink).await
    }

    async fn stop_sink(&mut self, name: &str, how: Stop) {
        self.tree.places.sinks.remove(name, how).await;
        self.tree.stop_thread("sinks", name);
    }

    /// Takes back what was begun, the last first.
    async fn undo(&mut self, done: Done) {
        let config = self.config.clone();
        for (name, before) in done.changed_handlers.into_iter().rev() {
            self.drop_new_lanes(&name, &before.as_successor()).await;
            self.tree.lanes.insert(name.clone(), before);
            let handler = find_handler(&config, &name);
            self.complain(self.start_handler(&config, handler).await);
        }
        for name in done.added_handlers.iter().rev() {
            let nobody = Successor::DeadLetters {
                inlet: self.tree.dead_letters.clone(),
                branch: format!("handler.{name}").into(),
                sink: None,
            };
            self.drop_new_lanes(name, &nobody).await;
        }
        for name in done.changed_sinks.iter().rev() {
            match config.sinks.iter().find(|sink| sink.name == *name) {
                Some(before) => {
                    let exchanged = self.exchange_sink(before).await;
                    self.complain(exchanged);
                }
                // It was on the way out, and is so again.
                None => self.remove_sink(name),
            }
        }
        for name in &done.added_sinks {
            self.remove_sink(name);
        }
    }

    fn complain(&self, result: Result<(), String>) {
        if let Err(error) = result
            && !self.is_draining()
        {
            tracing::error!(error, "what ran before the reload cannot be started again");
        }
    }

    /// Has lanes end that the router does not know.
    async fn drop_new_lanes(&mut self, handler: &str, successor: &Successor) {
        let handlers = &self.tree.places.handlers;
        handlers.remove(handler, Stop::HandOver).await;
        self.forget_handler(handler);
        if let Some(lanes) = self.tree.lanes.remove(handler) {
            lanes.leave_hung();
            self.retire(&lanes);
            lanes.hand_over(successor);
        }
    }

    /// The lanes' actors are gone.
    fn retire(&self, lanes: &Lanes) {
        for slot in &lanes.slots {
            self.tree.watch.remove_lane(slot);
        }
        lanes.stop_threads();
    }

    /// Has the router go by the new routes, and has those who are not on them leave.
    async fn rewire(&mut self, plan: &Plan, next: &Arc<Config>, replaced: Vec<(String, Lanes)>) {
        for (_, lanes) in &replaced {
            self.retire(lanes);
        }
        let removed = plan.handlers.removed.iter();
        let removed: Vec<_> = removed
            .filter_map(|name| Some((name, self.tree.lanes.remove(name)?)))
            .collect();
        let takes_over: Vec<_> = replaced
            .into_iter()
            .map(|(name, before)| (before, self.tree.lanes[&name].as_successor()))
            .collect();
        self.begun = Probation::marks(plan, next, &self.tree.registry);
        let spec = self.tree.router_spec(next);
        if let Some(routes) = &self.tree.routes {
            // Before the first event that goes the new way.
            let hand_over = move || {
                for (before, successor) in &takes_over {
                    before.hand_over(successor);
                }
            };
            routes.rewire(spec, hand_over).await;
        }
        for (name, lanes) in removed {
            self.leaving.handler(&self.tree, name, lanes);
        }
        for name in &plan.sinks.removed {
            self.remove_sink(name);
        }
        self.tree.directory.change(self.tree.replay_targets());
        self.tree.registry.set_config_version(&next.version);
    }

    /// Has the sink leave; until it is gone it can still be had back.
    fn remove_sink(&mut self, name: &str) {
        if let Some(target) = self.tree.sinks.remove(name) {
            self.leaving.sink(&self.tree, name, target);
        }
    }
}

fn find_handler<'a>(config: &'a Config, name: &str) -> &'a HandlerConfig {
    let found = config.handlers.iter().find(|handler| handler.name == name);
    found.expect("the plan names what the config has")
}

fn find_sink<'a>(config: &'a Config, name: &str) -> &'a SinkConfig {
    let found = config.sinks.iter().find(|sink| sink.name == name);
    found.expect("the plan names what the config has")
}

/// Builds each handler once, on a thread of its own, and drops it: one that cannot be built is found while all runs as before.
async fn try_out(handlers: Vec<&HandlerConfig>) -> Result<(), String> {
    if handlers.is_empty() {
        return Ok(());
    }
    let factories: Vec<(String, Arc<dyn HandlerFactory>)> = handlers
        .iter()
        .map(|handler| (handler.name.clone(), handler.factory.clone()))
        .collect();
    let (answer, built) = oneshot::channel();
    let arbiter = Arbiter::new();
    arbiter.spawn_fn(move || {
        let built = factories.iter().try_for_each(|(name, factory)| {
            let built = veltrix_actors::try_to_build(name, &**factory);
            built.map_err(|reason| format!("handlers.{name}: {reason}"))
        });
        if answer.send(built).is_err() {
            tracing::debug!("nobody waits for the trial any more");
        }
    });
    let built = built.await;
    arbiter.stop();
    built.unwrap_or_else(|_| Err("the thread for trying handlers is gone".to_owned()))
}
