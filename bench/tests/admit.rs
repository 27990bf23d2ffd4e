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
