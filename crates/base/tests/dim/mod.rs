use lampyr_base::{Bindings, Dim, Symbol};

fn size(name: &str) -> Dim {
    Dim::named(name)
}

#[test]
fn a_maximum_drops_what_another_operand_covers() {
    let (s, n, c) = (size("s"), size("n"), Dim::Known(512));
    let cut = c.minimum(&s);
    assert_eq!(s.maximum(&cut), s);
    assert_eq!(cut.maximum(&s), s);
    assert_eq!(s.minimum(&s.maximum(&n)), s);
    assert_eq!(s.maximum(&n).maximum(&cut), s.maximum(&n));
    assert_eq!(s.maximum(&n).maximum(&n), n.maximum(&s));
    assert_eq!(s.maximum(&n.maximum(&c)), c.maximum(&s).maximum(&n));
    assert_ne!(s.maximum(&c), s);
    assert_ne!(n.maximum(&cut), n);
    assert!(cut.is_at_most(&s) && cut.is_at_most(&c) && !s.is_at_most(&cut));
    assert!(s.minimum(&n).is_at_most(&s.maximum(&n)));
}

#[test]
fn extremes_of_many_sizes_keep_their_value() {
    let all: Vec<Dim> = (0..20).map(|i| size(&format!("s{i}"))).collect();
    let once = all.iter().fold(Dim::Known(3), |a, b| a.maximum(b));
    let twice = once.maximum(&all.iter().rev().fold(Dim::Known(3), |a, b| a.maximum(b)));
    let mut bindings = Bindings::new();
    (0..20).for_each(|i| bindings.set(Symbol::new(&format!("s{i}")), (i * 7) % 20));
    assert_eq!((once.eval(&bindings), twice.eval(&bindings)), (Some(19), Some(19)));
    assert!(twice.to_string().len() < 2 * once.to_string().len());
}
