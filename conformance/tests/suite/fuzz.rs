//! A short run of the fuzzer. `cargo xtask fuzz` makes a long one.

use lampyr_conformance::fuzz::{Stages, Tally, corpus, one, run};

#[test]
fn mutants_are_read_or_refused() {
    lampyr::init();
    let corpus = corpus().unwrap();
    assert!(corpus.len() > 200, "{} models", corpus.len());
    let tally = run(&corpus, 0..8_000, |_| {});
    assert!(tally.panics.is_empty(), "{:?}", tally.panics);
    assert!(tally.reach() >= 0.3, "{:.2} reached graph construction", tally.reach());
    assert!(tally.built > 500 && tally.compiled > 50 && tally.ran > 20, "{tally:?}");
}

#[test]
fn a_panic_is_noticed() {
    let mut tally = Tally::default();
    let act = |bytes: &[u8], _: u64| {
        assert!(bytes.is_empty(), "planted");
        Stages { reached: true, ..Stages::default() }
    };
    one(&mut tally, 1, &[], act);
    one(&mut tally, 2, &[7], act);
    assert_eq!((tally.inputs, tally.reached, tally.panics.len()), (2, 1, 1));
    assert_eq!(tally.panics[0].0, 2);
}
