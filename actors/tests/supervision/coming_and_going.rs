//! Children that are added and removed while their supervisor runs.

use std::time::Duration;

use veltrix_actors::{ActorState, ExitReason};

use crate::probes::{Way, idle, in_virtual_time, probe};

#[test]
fn the_next_child_takes_the_place_of_one_that_was_removed_and_nothing_is_heard_of_that_any_more() {
    in_virtual_time(async || {
        let slow = probe("a").ignores_stop().shutdown(Duration::from_secs(1));
        let tree = probe("root").over([slow]).start().await;
        let hung = tree.handle("a");
        tree.remove("a").await;
        assert_eq!(tree.log(), "+a -a");
        assert_eq!(tree.add(probe("b")).await, Ok(()));
        hung.report(ExitReason::Panicked);
        idle().await;
        assert_eq!(tree.log(), "+b");
        let b = tree.registry().actors.of("b");
        assert_eq!((b.state(), b.generation()), (ActorState::Running, 1));
        assert_eq!(b.last_failure(), None);
    });
}

#[test]
fn a_child_that_comes_again_under_its_name_is_restarted_like_any_other() {
    in_virtual_time(async || {
        let mut tree = probe("root").budget(1).over([probe("a")]).start().await;
        tree.remove("a").await;
        assert_eq!(tree.add(probe("a")).await, Ok(()));
        tree.end("a", Way::Error).await;
        assert_eq!(tree.log(), "+a -a +a +a");
        tree.stop().await;
        assert_eq!(tree.log(), "-a");
        assert_eq!(tree.exit(), Some(ExitReason::Normal));
    });
}

#[test]
fn an_added_child_that_cannot_start_is_not_kept() {
    in_virtual_time(async || {
        let tree = probe("root").budget(5).over([probe("a")]).start().await;
        let broken = probe("b").fails_to_start(1, 1);
        let why = "it is not there".to_owned();
        assert_eq!(tree.add(broken).await, Err(why));
        assert_eq!(tree.log(), "+a !b");
        assert_eq!(tree.add(probe("b")).await, Ok(()));
        let why = "there is a child called `b` already".to_owned();
        assert_eq!(tree.add(probe("b")).await, Err(why));
        assert_eq!(tree.log(), "+b");
    });
}

#[test]
fn a_child_that_is_removed_before_it_is_ready_holds_up_none_of_its_siblings() {
    in_virtual_time(async || {
        let children = [probe("a").starts_slowly(), probe("b"), probe("c")];
        let mut tree = probe("root").over(children).start().await;
        assert_eq!(tree.log(), "+a");
        tree.remove("b").await;
        tree.remove("a").await;
        idle().await;
        assert_eq!(tree.log(), "-a +c");
        assert!(tree.is_up());
    });
}

#[test]
fn a_child_that_is_removed_while_it_waits_to_be_tried_again_holds_up_none_of_its_siblings() {
    in_virtual_time(async || {
        let broken = probe("a").fails_to_start(1, 100);
        let root = probe("root").budget(50).over([broken, probe("b")]);
        let mut tree = root.start().await;
        assert!(!tree.is_up());
        tree.remove("a").await;
        idle().await;
        assert!(tree.log().ends_with("!a +b"));
        assert!(tree.is_up());
    });
}
