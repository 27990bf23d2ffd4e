//! Who gets a place when there are too few.

use std::num::NonZeroU32;

use super::*;

const TERMS: Terms = Terms { tier: Tier::OWN, caller: None, places: 4, waiting: 8, patience: Duration::from_secs(60) };

fn wish(consumer: u128) -> Wish {
    Wish { key: Hashed(7), consumer: Hashed(consumer), cost: 1 }
}

fn placed(gate: &Arc<Gate>, consumer: u128) -> Place {
    match gate.ask(&TERMS, wish(consumer)) {
        Ok(Asked::Placed(place)) => place,
        _ => panic!("no place for {consumer}"),
    }
}

fn waits(gate: &Arc<Gate>, consumer: u128) -> Waiting {
    match gate.ask(&TERMS, wish(consumer)) {
        Ok(Asked::Waits(waiting)) => waiting,
        _ => panic!("{consumer} does not wait"),
    }
}

fn has_place(waiting: &mut Waiting) -> bool {
    match waiting.told.try_recv() {
        Ok(placed) => {
            waiting.settled = true;
            drop(Place { gate: waiting.gate.clone(), wish: waiting.wish });
            placed
        }
        Err(_) => false,
    }
}

#[test]
fn the_next_free_place_goes_to_who_has_the_fewest() {
    let gate = Arc::<Gate>::default();
    let mut greedy: Vec<Place> = (0..4).map(|_| placed(&gate, 1)).collect();
    let mut queue: Vec<Waiting> = (0..5).map(|_| waits(&gate, 1)).collect();
    let mut modest = waits(&gate, 2);
    assert_eq!(gate.look(Hashed(7)), (4, 6));
    greedy.pop();
    // It came last, and comes first; and when it has gone again, the first of the others.
    assert!(has_place(&mut modest));
    assert_eq!(queue.iter_mut().map(has_place).filter(|placed| *placed).count(), 5);
    drop((greedy, queue, modest));
    assert_eq!((gate.look(Hashed(7)), gate.lock().len()), ((0, 0), 0));
}

#[test]
fn a_full_queue_sheds_the_newest_of_who_wants_most() {
    let gate = Arc::<Gate>::default();
    let _greedy: Vec<Place> = (0..4).map(|_| placed(&gate, 1)).collect();
    let mut queue: Vec<Waiting> = (0..8).map(|_| waits(&gate, 1)).collect();
    assert!(gate.ask(&TERMS, wish(1)).is_err());
    let _modest = waits(&gate, 2);
    assert_eq!(queue[7].told.try_recv(), Ok(false));
    assert!(queue[..7].iter_mut().all(|waiting| waiting.told.try_recv().is_err()));
    assert_eq!(gate.look(Hashed(7)), (4, 8));
}

#[tokio::test]
async fn who_leaves_while_it_waits_takes_no_place_along() {
    let gate = Arc::<Gate>::default();
    let mut greedy: Vec<Place> = (0..4).map(|_| placed(&gate, 1)).collect();
    let (gone, stays) = (waits(&gate, 2), waits(&gate, 3));
    greedy.pop();
    // It has a place already, and has not heard of it yet.
    drop(gone);
    let place = stays.place().await;
    assert!(place.is_ok());
    assert_eq!(gate.look(Hashed(7)), (4, 0));
    let hasty = Terms { patience: Duration::from_millis(1), ..TERMS };
    let Ok(Asked::Waits(waiting)) = gate.ask(&hasty, wish(4)) else { panic!("no queue") };
    assert_eq!(waiting.place().await.err(), Some(Full));
    assert_eq!(gate.look(Hashed(7)), (4, 0));
    drop((greedy, place));
    assert_eq!(gate.lock().len(), 0);
}

#[test]
fn places_are_those_of_the_newest_terms_and_are_weighed() {
    let gate = Arc::<Gate>::default();
    let heavy = Wish { cost: 3, ..wish(1) };
    let Ok(Asked::Placed(place)) = gate.ask(&TERMS, heavy) else { panic!("no place") };
    let Ok(Asked::Waits(mut second)) = gate.ask(&TERMS, heavy) else { panic!("no queue") };
    assert!(matches!(gate.ask(&Terms { places: 6, ..TERMS }, wish(2)), Ok(Asked::Waits(_))));
    drop(place);
    assert!(has_place(&mut second));
}

#[test]
fn callers_of_each_plan_have_their_own_number_of_the_places() {
    let gate = Arc::<Gate>::default();
    let more = Terms { tier: Tier::of(1), places: 6, ..TERMS };
    let ask = |consumer| gate.ask(&more, wish(consumer));
    let mut held: Vec<Place> = (0..4).map(|_| placed(&gate, 1)).collect();
    let mut few = waits(&gate, 2);
    // Who may have more does not wait for who may not.
    let (Ok(Asked::Placed(fifth)), Ok(Asked::Placed(sixth))) = (ask(3), ask(3)) else { panic!("no place") };
    let Ok(Asked::Waits(mut many)) = ask(3) else { panic!("no queue") };
    // A place becomes free that is one too many for who has come first and has the fewest.
    drop(fifth);
    assert!(few.told.try_recv().is_err());
    assert_eq!(many.told.try_recv(), Ok(true));
    (many.settled, held) = (true, held.into_iter().take(1).collect());
    assert_eq!(few.told.try_recv(), Ok(true));
    few.settled = true;
    assert_eq!(gate.look(Hashed(7)), (4, 0));
    drop((held, sixth, few, many));
}

#[test]
fn who_has_an_amount_of_its_own_waits_by_that_one() {
    let gate = Arc::<Gate>::default();
    let ask = |amount: u32, consumer| {
        let tier = Tier { amount: NonZeroU32::new(amount), ..Tier::OWN };
        gate.ask(&Terms { tier, caller: Some(Hashed(consumer)), places: amount, ..TERMS }, wish(consumer))
    };
    let (Ok(Asked::Placed(one)), Ok(Asked::Placed(two))) = (ask(2, 1), ask(2, 1)) else { panic!("no place") };
    let Ok(Asked::Waits(mut few)) = ask(2, 2) else { panic!("no queue") };
    let Ok(Asked::Placed(third)) = ask(3, 3) else { panic!("no place") };
    // What another one may, who came later, is not for it.
    drop(one);
    assert!(few.told.try_recv().is_err());
    drop(two);
    assert!(has_place(&mut few));
    assert!(gate.lock()[&Hashed(7)].places.is_empty(), "as many as there are amounts would be remembered");
    drop(third);
}

#[test]
fn who_waits_goes_by_a_new_amount_of_the_same_caller() {
    let gate = Arc::<Gate>::default();
    let ask = |caller: u128, amount: u32, consumer| {
        let tier = Tier { amount: NonZeroU32::new(amount), ..Tier::OWN };
        gate.ask(&Terms { tier, caller: Some(Hashed(caller)), places: amount, ..TERMS }, wish(consumer))
    };
    let Ok(Asked::Placed(one)) = ask(1, 1, 1) else { panic!("no place") };
    let Ok(Asked::Waits(mut before)) = ask(1, 1, 2) else { panic!("no queue") };
    let Ok(Asked::Waits(mut other)) = ask(2, 1, 4) else { panic!("no queue") };
    // The caller's amount is three from now on: who waits has its place, and who comes behind it has one as well.
    let Ok(Asked::Placed(two)) = ask(1, 3, 2) else { panic!("no place") };
    assert!(has_place(&mut before));
    assert!(other.told.try_recv().is_err(), "that is another caller's amount");
    drop((one, two, before, other));
}

proptest::proptest! {
    #[test]
    fn never_more_than_there_are_and_none_is_lost(steps in proptest::collection::vec((0_u8..4, 1_u128..5, 0_usize..8), 1..200)) {
        let gate = Arc::<Gate>::default();
        let (mut places, mut queue) = (Vec::new(), Vec::new());
        for (what, consumer, index) in steps {
            match what {
                0 | 1 => match gate.ask(&TERMS, wish(consumer)) {
                    Ok(Asked::Placed(place)) => places.push(place),
                    Ok(Asked::Waits(waiting)) => queue.push(waiting),
                    Err(Full) => {}
                },
                2 if index < places.len() => drop(places.swap_remove(index)),
                3 if index < queue.len() => drop(queue.swap_remove(index)),
                _ => {}
            }
            for index in (0..queue.len()).rev() {
                let waiting: &mut Waiting = &mut queue[index];
                if let Ok(placed) = waiting.told.try_recv() {
                    waiting.settled = true;
                    let waiting = queue.swap_remove(index);
                    if placed {
                        places.push(Place { gate: gate.clone(), wish: waiting.wish });
                    }
                }
            }
            let (taken, waiting) = gate.look(Hashed(7));
            proptest::prop_assert_eq!((taken as usize, waiting as usize), (places.len(), queue.len()));
            proptest::prop_assert!(taken <= 4 && waiting <= 8 && (taken == 4 || waiting == 0));
        }
        drop((places, queue));
        proptest::prop_assert_eq!(gate.lock().len(), 0);
    }
}
