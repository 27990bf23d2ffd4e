//! What a request may allocate on its way through a route, counted exactly; and that the twin of ADR 7 does the same work.

#![allow(clippy::panic, reason = "a test fails loudly")]

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

use http::Extensions;
use maitred_bench::{
    chain::{Calls, Chain},
    scene::{EMPTY, FULL, Scene},
    walk,
};

/// Allocations of the second run: the first may fill what is filled once, such as the scratch space of a regex.
fn allocations(mut run: impl FnMut()) -> u64 {
    run();
    allocation_counter::measure(run).count_total
}

fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("no concern of this release waits for anything"),
    }
}

#[test]
fn an_empty_route_admits_without_an_allocation() {
    let scene = Scene::of(EMPTY);
    assert_eq!(allocations(|| walk::admit(&scene).unwrap()), 0);
}

#[test]
fn a_full_route_admits_with_two() {
    let scene = Scene::of(FULL);
    let counted = allocations(|| walk::admit(&scene).unwrap());
    assert!(counted <= 2, "{counted} allocations: rewriting a path to look at it took two");
}

/// Most of them are made in Pingora's maps of fields, which grow, and copy every name that `http` has no constant for.
#[test]
fn no_walk_allocates_more_than_it_did() {
    for (text, most) in [(EMPTY, 17), (FULL, 48)] {
        let scene = Scene::of(text);
        let mut heads = (0..2).map(|_| scene.heads()).collect::<Vec<_>>().into_iter();
        let mut kept = Vec::with_capacity(2);
        let counted = allocations(|| {
            let (mut to, mut head) = heads.next().unwrap();
            walk::whole(&scene, &mut to, &mut head).unwrap();
            kept.push((to, head));
        });
        assert!(counted <= most, "{counted} allocations, and there were {most}");
    }
}

#[test]
fn a_refusal_allocates_nothing() {
    let mut scene = Scene::of(FULL);
    scene.from.insert_header("Content-Length", "99999999999").unwrap();
    assert_eq!(allocations(|| assert!(walk::admit(&scene).is_err())), 0);
}

#[test]
fn the_chain_does_the_same_work() {
    for (text, every) in [(EMPTY, 6), (FULL, 24)] {
        let scene = Scene::of(text);
        let (mut to, mut head) = scene.heads();
        walk::whole(&scene, &mut to, &mut head).unwrap();
        for calls in [Calls::Every, Calls::Told] {
            let chain = Chain::of(&scene.route, calls);
            let (mut its_to, mut its_head) = scene.heads();
            now(chain.whole(&scene, &mut its_to, &mut its_head, &mut Extensions::new())).unwrap();
            assert_eq!((its_to.raw_path(), &its_to.headers), (to.raw_path(), &to.headers), "{calls:?}");
            assert_eq!(its_head.headers, head.headers, "{calls:?}");
            assert!(calls == Calls::Told || chain.calls() == every, "{}", chain.calls());
        }
    }
}
