use lampyr_base::{DType, ErrorKind, Result};
use lampyr_runtime::{Scalar, Tensor};

use super::*;

/// Arguments of a test: positional ones, then named ones.
struct Given<'a>(Vec<(Option<&'static str>, Value<'a>)>);

impl<'a> Source<'a> for Given<'a> {
    fn positional(&self) -> usize {
        self.0.iter().filter(|(name, _)| name.is_none()).count()
    }
    fn named(&self) -> usize {
        self.0.len() - self.positional()
    }
    fn name(&self, k: usize) -> &'a str {
        self.0[self.positional() + k].0.unwrap()
    }
    fn is_none(&self, at: usize) -> bool {
        matches!(self.0[at].1, Value::None)
    }
    fn read(&self, at: usize, kind: Kind) -> Read<'a> {
        let value = self.0[at].1.clone();
        match (kind, &value) {
            (Kind::Tensor | Kind::Operand, Value::Tensor(_))
            | (Kind::Operand | Kind::Scalar, Value::Scalar(_))
            | (Kind::Int, Value::Int(_))
            | (Kind::Bool, Value::Bool(_))
            | (Kind::Ints(_), Value::Ints(_)) => Read::Value(value),
            _ => Read::Wrong,
        }
    }
    fn type_name(&self, at: usize) -> String {
        format!("{:?}", self.0[at].1).split('(').next().unwrap_or_default().to_lowercase()
    }
}

const LINES: &[Entry] = &[
    name("twice(Tensor input, *, Tensor? out=None) -> Tensor", TOP | METHOD | INPLACE, "Doubled.", |a| {
        give(a.tensor(0)?.mul(2i64))
    }),
    name("best(Tensor input) -> Tensor", TOP | METHOD, "Largest.", |a| give(a.tensor(0)?.amax(&[], false))),
    name("best(Tensor input, int dim, bool keepdim=False) -> Tensor", TOP | METHOD, "Largest.", |a| {
        give(a.tensor(0)?.amax(&[a.int(1)?], a.bool(2)?))
    }),
    name("turned(Tensor input) -> Tensor", METHOD | INPLACE | RENEW, "Turned.", |a| give(a.tensor(0)?.transpose(0, 1))),
    name("half(Tensor input) -> Tensor", TOP | INPLACE, "Halved.", |a| give(a.tensor(0)?.div(2i64))),
    name("order(Tensor input, int[] dims) -> Tensor", TOP | METHOD, "Permuted.", |a| {
        give(a.tensor(0)?.permute(a.ints(1)?))
    })
    .also(&["reorder"]),
];

fn lines() -> &'static Table {
    crate::init();
    Box::leak(Box::new(Table::new(&[LINES])))
}

fn call(space: Space, name: &str, given: Vec<(Option<&'static str>, Value<'_>)>) -> Result<Tensor> {
    let source = Given(given);
    let (form, call) = resolve(lines().find(space, name).unwrap(), &source)?;
    match run(form, &call)? {
        Output::Tensor(t) => Ok(t),
        Output::Renewed(_, new) => Ok(new),
        Output::Resized(all) => Ok(all[0].1.clone()),
        other => panic!("{other:?}"),
    }
}

fn tensor() -> Tensor {
    crate::init();
    Tensor::from_slice(&[1f32, 5.0, 3.0, 2.0], &[2, 2]).unwrap()
}

#[test]
fn forms_are_tried_in_order() {
    let x = tensor();
    let all = call(Space::Top, "best", vec![(None, Value::Tensor(&x))]).unwrap();
    assert_eq!(all.to_vec::<f32>().unwrap(), [5.0]);
    let rows = vec![(None, Value::Tensor(&x)), (Some("axis"), Value::Int(1)), (Some("keepdim"), Value::Bool(true))];
    let rows = call(Space::Method, "best", rows).unwrap();
    assert_eq!((rows.shape(), rows.to_vec::<f32>().unwrap()), (&[2, 1][..], vec![5.0, 3.0]));
}

#[test]
fn out_and_in_place_write() {
    let (x, out) = (tensor(), Tensor::empty(&[2, 2], DType::F64, lampyr_base::Device::CPU).unwrap());
    let made = call(Space::Top, "twice", vec![(None, Value::Tensor(&x)), (Some("out"), Value::Tensor(&out))]);
    assert!(made.unwrap().same(&out));
    assert_eq!(out.to_vec::<f64>().unwrap(), [2.0, 10.0, 6.0, 4.0]);
    assert!(call(Space::Method, "twice_", vec![(None, Value::Tensor(&x))]).unwrap().same(&x));
    assert_eq!(x.to_vec::<f32>().unwrap(), [2.0, 10.0, 6.0, 4.0]);
    let whole = Tensor::from_slice(&[1i64], &[1]).unwrap();
    let refused = call(Space::Method, "half_", vec![(None, Value::Tensor(&whole))]).unwrap_err();
    assert_eq!(refused.kind(), &ErrorKind::DType);
    let small = Tensor::empty(&[3], DType::F32, lampyr_base::Device::CPU).unwrap();
    let made =
        call(Space::Top, "twice", vec![(None, Value::Tensor(&x)), (Some("out"), Value::Tensor(&small))]).unwrap();
    assert_eq!((made.shape(), made.to_vec::<f32>().unwrap()), (&[2, 2][..], vec![4.0, 20.0, 12.0, 8.0]));
    assert_eq!(small.shape(), [3]);
    x.requires_grad_(true).unwrap();
    let made = call(Space::Top, "twice", vec![(None, Value::Tensor(&x)), (Some("out"), Value::Tensor(&out))]);
    assert_eq!(made.unwrap_err().kind(), &ErrorKind::Autograd);
}

#[test]
fn what_takes_a_tensors_place() {
    let x = tensor();
    let turned = call(Space::Method, "turned_", vec![(None, Value::Tensor(&x))]).unwrap();
    assert!(turned.shares_storage(&x) && turned.to_vec::<f32>().unwrap() == [1.0, 3.0, 5.0, 2.0]);
    x.requires_grad_(true).unwrap();
    let refused = call(Space::Method, "turned_", vec![(None, Value::Tensor(&x))]);
    assert_eq!(refused.unwrap_err().kind(), &ErrorKind::Autograd);
}

#[test]
fn numbers_one_by_one() {
    let x = tensor();
    let spread = vec![(None, Value::Tensor(&x)), (None, Value::Int(1)), (None, Value::Int(0))];
    assert_eq!(call(Space::Method, "reorder", spread.clone()).unwrap().to_vec::<f32>().unwrap(), [1.0, 3.0, 5.0, 2.0]);
    let e = call(Space::Top, "order", spread).unwrap_err().to_string();
    assert!(e.contains("takes 2 positional arguments but 3 were given"), "{e}");
}

#[test]
fn messages_name_what_came() {
    let x = tensor();
    let says = |name: &str, given: Vec<(Option<&'static str>, Value<'_>)>, part: &str| {
        let e = call(Space::Top, name, given).unwrap_err();
        assert_eq!(e.kind(), &ErrorKind::DType);
        assert!(e.to_string().contains(part), "{e}");
    };
    says("twice", vec![], "the argument `input` is missing");
    says("twice", vec![(None, Value::Scalar(Scalar::Int(1)))], "`input` (position 1) must be Tensor, not scalar");
    says("twice", vec![(None, Value::Tensor(&x)), (Some("dim"), Value::Int(1))], "there is no argument `dim`");
    says("twice", vec![(None, Value::Tensor(&x)), (Some("input"), Value::Tensor(&x))], "`input` is given twice");
    says("best", vec![(None, Value::Tensor(&x)), (None, Value::Str("a"))], "no form takes (tensor, str)");
    says("best", vec![(None, Value::Tensor(&x)), (None, Value::Str("a"))], "best(Tensor input, int dim, bool keepdim");
}

#[test]
fn every_line_of_the_table_is_whole() {
    let all = table();
    assert_eq!(all.faults, Vec::<String>::new());
    for c in &all.callables {
        assert!(!c.forms.iter().any(|f| f.entry.doc.is_empty()), "{} has no sentence", c.name);
        let same = |a: &Form, b: &Form| a.text() == b.text();
        for (i, form) in c.forms.iter().enumerate() {
            assert!(!c.forms[..i].iter().any(|f| same(f, form)), "{}{} is listed twice", c.name, form.text());
        }
    }
}
