//! The config actor: has the process take over a changed config, watches what is new, and goes back when it fails.

mod desk;
mod leaving;
mod plan;
mod probation;
mod sources;
mod triggers;
mod wiring;

use std::sync::Arc;

use actix::prelude::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, SpawnHandle, WrapFuture,
};
use tokio::sync::oneshot;

use self::desk::Entry;
use self::probation::Probation;
use self::triggers::watch_files;
use super::{faults, orphans};
use crate::admin::Health;
use crate::config::{Config, Problems};

pub(crate) use self::desk::{Answer, Refusal, ReloadDesk};
pub(super) use self::triggers::Hangups;
pub(crate) use self::triggers::Watched;
pub(super) use self::wiring::Wiring;

/// How the config is read: as at the start.
pub(crate) trait Load: Send + Sync {
    /// The config with its warnings.
    fn load(&self) -> Result<(Config, Problems), Problems>;

    /// Whether faults may be injected.
    fn allows_faults(&self) -> bool;

    /// Its files, if it is to be taken over whenever they change; to be asked once.
    fn watched(&self) -> Option<Watched>;
}

/// Has the config read again.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Reload {
    /// Who wants it.
    pub(crate) trigger: &'static str,
    /// Only say what would be done.
    pub(crate) is_dry_run: bool,
    pub(crate) answer: Option<oneshot::Sender<Answer>>,
}

/// Looks how what is new fares.
#[derive(Message)]
#[rtype(result = "()")]
struct Look;

/// Takes one config over after the other.
pub(super) struct ConfigActor {
    load: Arc<dyn Load>,
    desk: Arc<ReloadDesk>,
    health: Arc<Health>,
    /// Away while a config is taken over, when no message is handled.
    wiring: Option<Wiring>,
    probation: Option<Probation>,
    /// When it looks next.
    look: Option<SpawnHandle>,
}

/// Has the config of a tree that is up taken over whenever somebody asks for it.
pub(super) async fn follow(
    wiring: Wiring,
    load: Arc<dyn Load>,
    desk: Arc<ReloadDesk>,
    health: Arc<Health>,
    hangups: Hangups,
) {
    let watched = load.watched();
    let actor = ConfigActor {
        load,
        desk: desk.clone(),
        health,
        wiring: Some(wiring),
        probation: None,
        look: None,
    };
    actor.start();
    let watcher = watched.map(|files| watch_files(files, desk.clone()));
    if let Some(Err(error)) = &watcher {
        tracing::error!(%error, "the config's files cannot be watched, send SIGHUP instead");
    }
    hangups.follow(desk).await;
}

impl ConfigActor {
    /// The config was taken over.
    fn applied(
        &mut self,
        wiring: &Wiring,
        before: Arc<Config>,
        answer: &Answer,
        trigger: &'static str,
        ctx: &mut Context<Self>,
    ) {
        let Answer::Applied { plan, .. } = answer else {
            return;
        };
        let probation = wiring.config.reload.probation;
        let earlier = self.probation.take();
        if let Some(look) = self.look.take() {
            ctx.cancel_future(look);
        }
        if !probation.is_zero() {
            let (now, registry) = (&wiring.config, &wiring.tree.registry);
            let begun = (plan, &*wiring.begun);
            self.probation = Probation::begin(earlier, before, now, begun, registry);
        }
        let is_watched = self.probation.is_some();
        self.desk
            .apply(&wiring.config, is_watched.then_some(probation));
        tracing::info!(
            trigger,
            version = wiring.config.version,
            changes = %plan.to_json(),
            probation = is_watched.then(|| tracing::field::debug(probation)),
            "the config is reloaded"
        );
        if is_watched {
            self.look = Some(ctx.notify_later(Look, probation::LOOK_INTERVAL));
        }
    }

    /// Takes up the config again that was good.
    fn roll_back(&mut self, probation: Probation, reason: String, ctx: &mut Context<Self>) {
        let Some(mut wiring) = self.wiring.take() else {
            return;
        };
        let (failed, good) = (wiring.config.clone(), probation.before);
        tracing::error!(
            reason,
            version = failed.version,
            good = good.version,
            "the new config fails in its probation, the one before is taken up again"
        );
        let back = async move {
            let taken = wiring.take_over(good).await;
            (wiring, taken)
        };
        ctx.wait(
            back.into_actor(self)
                .map(move |(wiring, taken), actor: &mut Self, _| {
                    let detail = match taken {
                        Ok(_) => reason,
                        Err(error) => {
                            tracing::error!(error, "the config before cannot be taken up again");
                            format!("{reason}; the config before cannot be taken up again: {error}")
                        }
                    };
                    actor.desk.apply(&wiring.config, None);
                    actor.desk.note(Entry::new(
                        "probation",
                        &failed.version,
                        "rolled-back",
                        Some(detail),
                    ));
                    actor.wiring = Some(wiring);
                }),
        );
    }
}

/// Reads the config, and takes it over if all is well.
async fn reload(wiring: &mut Wiring, load: Arc<dyn Load>, is_dry_run: bool) -> Answer {
    let read = {
        let (load, now) = (load.clone(), wiring.config.clone());
        tokio::task::spawn_blocking(move || {
            let (next, mut warnings) = load.load()?;
            warnings.extend(orphans::left_behind(&now, &next));
            Ok((next, warnings))
        })
    };
    let (mut next, warnings) = match read.await {
        Ok(Ok(read)) => read,
        Ok(Err(problems)) => return Answer::Refused(Refusal::Invalid(problems)),
        Err(error) => return Answer::Refused(Refusal::Failed(error.to_string())),
    };
    if next.faults.is_some() && !load.allows_faults() {
        return Answer::Refused(Refusal::Faults);
    }
    let obstacles = wiring.obstacles(&next);
    if !obstacles.is_empty() {
        return Answer::Refused(Refusal::Fixed(obstacles));
    }
    let plan = plan::Plan::between(&wiring.config, &next);
    let version = next.version.clone();
    if is_dry_run {
        return Answer::Possible {
            version,
            plan,
            warnings,
        };
    }
    if plan.is_empty() && version == wiring.config.version {
        return Answer::Unchanged { version };
    }
    if let Err(reason) = faults::apply(&mut next, &wiring.tree.registry, faults::Log::Continued) {
        return Answer::Refused(Refusal::Failed(reason));
    }
    match wiring.take_over(Arc::new(next)).await {
        Ok(plan) => Answer::Applied {
            version,
            plan,
            warnings,
        },
        Err(_) if wiring.is_draining() => Answer::Refused(Refusal::Draining),
        Err(reason) => Answer::Refused(Refusal::Failed(reason)),
    }
}

impl Actor for ConfigActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.desk.open(ctx.address().recipient());
    }
}

impl Handler<Reload> for ConfigActor {
    type Result = ();

    fn handle(&mut self, order: Reload, ctx: &mut Context<Self>) {
        let Reload {
            trigger,
            is_dry_run,
            answer: to,
        } = order;
        let Some(mut wiring) = self.wiring.take().filter(|_| !self.health.is_draining()) else {
            return desk::answer(to, Answer::Refused(Refusal::Draining));
        };
        let (load, before) = (self.load.clone(), wiring.config.clone());
        let reloaded = async move {
            let answer = reload(&mut wiring, load, is_dry_run).await;
            (wiring, answer)
        };
        ctx.wait(
            reloaded
                .into_actor(self)
                .map(move |(wiring, answer), actor: &mut Self, ctx| {
                    actor.applied(&wiring, before, &answer, trigger, ctx);
                    if !is_dry_run {
                        actor.desk.note(answer.entry(trigger));
                        answer.log(trigger);
                    }
                    actor.wiring = Some(wiring);
                    desk::answer(to, answer);
                }),
        );
    }
}

impl Handler<Look> for ConfigActor {
    type Result = ();

    fn handle(&mut self, _: Look, ctx: &mut Context<Self>) {
        let (Some(probation), Some(wiring)) = (self.probation.take(), &self.wiring) else {
            return;
        };
        if self.health.is_draining() {
            return;
        }
        if let Some(reason) = probation.failure(&wiring.tree.registry) {
            return self.roll_back(probation, reason, ctx);
        }
        if probation.is_over() {
            let version = &wiring.config.version;
            tracing::info!(version, "the new config has stood its probation");
            self.desk.confirm();
            self.desk
                .note(Entry::new("probation", version, "confirmed", None));
            return;
        }
        self.probation = Some(probation);
        self.look = Some(ctx.notify_later(Look, probation::LOOK_INTERVAL));
    }
}
