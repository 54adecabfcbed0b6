//! The core of Veltrix: events, batches, mailboxes and credits, supervision, the router, and the source, handler and sink
//! actors with the traits that components implement. No protocol, no file format, no config file.
//!
//! Events flow source → router → lane → sink as [`EventBatch`]es. Each hop sends only with credit in hand (see
//! [`mailbox`]); *custody* returns the credit, *done* ([`Origin`]) counts what every intake still waits for.

mod acceptance;
mod actor_status;
mod async_sink_actor;
mod attempt;
mod attribute_names;
mod attribute_rules;
mod batch;
mod breaker;
mod call;
mod counters;
mod cursor;
mod dead_letter;
mod dead_letter_actor;
mod dead_letter_copy;
mod dead_letter_desk;
mod dead_letter_json;
mod dead_letter_memory;
mod dead_letter_replay;
mod dead_letter_stats;
mod dead_letter_store;
mod dedupe;
mod derive;
mod envelope;
mod event;
mod faults;
mod finished;
mod guard;
mod handler;
mod journal;
mod journal_actor;
mod journal_desk;
mod journal_replay;
mod journal_stats;
pub mod json_scan;
mod key;
mod lane;
mod lane_breaker;
mod lane_outlets;
mod lane_slot;
mod lane_spec;
mod listening;
mod log_limit;
pub mod mailbox;
mod members;
mod memory;
mod origin;
mod outlet;
mod output;
mod overflow_actor;
mod overflow_log;
mod panic_hook;
mod pattern;
mod plain_envelope;
mod read_back;
mod receipt;
mod replay;
mod route_table;
mod router;
mod router_outlets;
mod router_place;
mod shadows;
mod shared_finished;
mod shipment;
mod sink;
mod sink_actor;
mod sink_pause;
mod sink_slot;
mod sink_spec;
mod sink_stats;
mod sink_watch;
mod source;
mod source_actor;
mod source_port;
mod source_stats;
mod spillway;
mod standstill;
mod start;
mod stats;
mod submitter;
mod succession;
mod supervision;
mod timestamp;
mod trial;
mod types;
mod upstream;
mod urgency;
mod watch_list;
mod watchdog;
mod work;
mod worker;
mod written;

pub use actor_status::{ActorState, ActorStatus, ActorStatuses, LastFailure};
pub use async_sink_actor::AsyncSinkActor;
pub use batch::{
    Arena, BATCH_BYTES_MAX, BATCH_EVENTS_MAX, EventBatch, Intake, check_line, detached_types,
};
pub use breaker::{
    BREAKER_PAUSE_MAX, BREAKER_PAUSE_MIN, Breaker, BreakerSpec, DEAD_LETTERS_IN_A_ROW_MIN,
};
pub use counters::{Counter, Gauge, TIME_BOUNDS, TimeHistogram};
pub use dead_letter::{
    ATTEMPTS_KEPT_MAX, Attempt, Attempts, Failure, FailureClass, REASON_BYTES_MAX,
};
pub use dead_letter_actor::{
    DEAD_LETTER_NOT_COPIED, DEAD_LETTER_OVERFLOW, DeadLetterActor, DeadLetterSpec,
};
pub use dead_letter_copy::{AlsoTo, DEAD_LETTER_TYPE};
pub use dead_letter_desk::{DeadLetterDesk, DeskError, Replaying, Selected};
pub use dead_letter_memory::DeadLetterLimits;
pub use dead_letter_replay::ReplaySpec;
pub use dead_letter_stats::DeadLetterStats;
pub use dead_letter_store::{
    DeadLetter, DeadLetterFilter, DeadLetterPage, DeadLetterQuery, DeadLetterStore, OpenDeadLetters,
};
pub use dedupe::DedupeSpec;
pub use envelope::{ATTRIBUTE_BYTES_MAX, ATTRIBUTES_MAX, DEPTH_MAX, EnvelopeError};
pub use event::{Event, EventRecord};
pub use faults::{FaultAction, FaultPlan, FaultPoint, Faults, Injection, Only, PointPattern, When};
pub use finished::Finished;
pub use guard::Panic;
pub use handler::{
    AsyncHandler, Handler, HandlerError, HandlerFactory, LaneHandler, Refusal, Reply, ReplyResult,
    try_to_build,
};
pub use journal::{Journal, JournalFactory, JournalFailure, JournalRefusal, Stored};
pub use journal_actor::{DUPLICATE, JournalActor, JournalSpec};
pub use journal_desk::{JournalDesk, JournalFilter, JournalReplaySpec, Kept};
pub use journal_stats::JournalStats;
pub use key::KeySelector;
pub use lane::HandlerActor;
pub use lane_slot::LaneSlot;
pub use lane_spec::{LaneSpec, Target};
pub use listening::{HeldSocket, Listening};
pub use log_limit::LogLimit;
pub use memory::{Charge, MemoryBudget};
pub use origin::{ID_CONFLICT, Origin};
pub use outlet::Outlet;
pub use output::{Output, RESULT_BYTES_MAX, RESULTS_PER_EVENT_MAX};
pub use overflow_actor::OverflowActor;
pub use overflow_log::OverflowSpec;
pub use panic_hook::{install_panic_hook, panics_total};
pub use pattern::{PatternError, Segment, TypePattern};
pub use receipt::Admission;
pub use replay::{REPLAY_SOURCE, REPLAYED, ReplayDirectory, ReplayTargets};
pub use route_table::{HandlerIndex, RouteTable};
pub use router::{Route, RouterActor, RouterSpec, Unmatched};
pub use router_place::RouterPlace;
pub use shared_finished::SharedFinished;
pub use sink::{
    AnySink, AsyncSink, Consignment, DeliveryError, FlushError, RetryPolicy, Sink, SinkFactory,
};
pub use sink_actor::{SINK_ATTEMPTS_MAX, SinkActor};
pub use sink_pause::{SINK_PAUSE_MAX, SINK_PAUSE_MIN};
pub use sink_spec::SinkSpec;
pub use sink_stats::SinkStats;
pub use sink_watch::{SINK_HANG_TIMEOUT, WatchedSink};
pub use source::{Durability, DurabilityKind, Source, SourceFactory, SourcePlace, SourceSpec};
pub use source_actor::SourceActor;
pub use source_port::{SUBMITTED_EVENTS_MAX, SourcePort};
pub use source_stats::{InFlight, SourceStats};
pub use spillway::Spillway;
pub use start::{
    start_dead_letters, start_journal, start_lane, start_overflow, start_router, start_sink,
    start_source, start_supervisor,
};
pub use stats::{GoneSinks, HandlerStats, Registry};
pub use submitter::Submitter;
pub use succession::Successor;
pub use supervision::{
    AutoShutdown, Backoff, ChildEvent, ChildHandle, ChildSpec, ExitReason, Lifeline, Restart,
    RestartBudget, RootWatch, StartError, Stop, Strategy, Supervisor, SupervisorPlace,
};
pub use timestamp::is_rfc3339;
pub use trial::{Outcome, Trial};
pub use types::{TYPE_NAME_BYTES_MAX, TYPES_MAX, TypeCache, TypeId, TypeTable};
pub use upstream::{CURSOR_INTERVAL, Cursor, CursorStore, Upstream};
pub use watch_list::WatchList;
pub use watchdog::{LEAKED_THREADS_MAX, NEIGHBOUR_TIMEOUT, Watchdog, Watched};
pub use worker::{LeakedThreads, Worker};
pub use written::Written;
