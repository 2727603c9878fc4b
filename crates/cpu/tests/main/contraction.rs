//! Matrix products and convolutions against their references.

use lampyr_base::{DType, Dim};
use lampyr_ir::case::{Case, CaseInput, SplitMix, View};
use lampyr_ops::build::{Conv, ConvInputGrad, ConvWeightGrad, Gemm, Matmul};

use crate::support::{check, check_cases};

#[test]
fn cases_of_matmul() {
    check_cases::<Matmul>();
}

#[test]
fn cases_of_gemm() {
    check_cases::<Gemm>();
}

#[test]
fn cases_of_conv() {
    check_cases::<Conv>();
}

#[test]
fn cases_of_conv_input_grad() {
    check_cases::<ConvInputGrad>();
}

#[test]
fn cases_of_conv_weight_grad() {
    check_cases::<ConvWeightGrad>();
}

fn pick(rng: &mut SplitMix, low: usize, high: usize) -> usize {
    low + (rng.next_u64() % (high - low) as u64) as usize
}

#[test]
fn random_products() {
    let mut rng = SplitMix(11);
    let views = [View::Contiguous, View::Transposed, View::Strided, View::Reversed];
    for i in 0..60 {
        let (m, n, k) = (pick(&mut rng, 1, 40), pick(&mut rng, 1, 70), pick(&mut rng, 1, 300));
        let batch: Vec<usize> = (0..pick(&mut rng, 0, 3)).map(|_| pick(&mut rng, 1, 4)).collect();
        let shape = |rng: &mut SplitMix, a: usize, b: usize| {
            let drop = if rng.unit() < 0.3 { batch.len() } else { 0 };
            let own = batch.iter().map(|&d| if rng.unit() < 0.3 { 1 } else { d });
            own.skip(drop).chain([a, b]).collect::<Vec<usize>>()
        };
        let (x, y) = (shape(&mut rng, m, k), shape(&mut rng, k, n));
        let input = |rng: &mut SplitMix, s: &[usize]| CaseInput::new(DType::F32, s).view(views[pick(rng, 0, 4)]);
        let inputs = vec![input(&mut rng, &x), input(&mut rng, &y)];
        check(&Case::new(format!("{i} {x:?} {y:?}"), &Matmul, inputs).tolerance(1e-3, 1e-4));
    }
}

#[test]
fn random_convolutions() {
    let mut rng = SplitMix(5);
    for i in 0..120 {
        let rank = pick(&mut rng, 1, 4);
        let group = [1, 1, 2, 3][pick(&mut rng, 0, 4)];
        let depthwise = rng.unit() < 0.25;
        let channels = if depthwise { 1 } else { pick(&mut rng, 1, 6) };
        let rows = pick(&mut rng, 1, if depthwise { 3 } else { 9 });
        let (mut x, mut w, mut y) =
            (vec![pick(&mut rng, 1, 4), channels * group], vec![rows * group, channels], vec![]);
        let (mut strides, mut dilations, mut begins, mut ends) = (vec![], vec![], vec![], vec![]);
        for _ in 0..rank {
            let (tap, stride, dilation) = (pick(&mut rng, 1, 5), pick(&mut rng, 1, 4), pick(&mut rng, 1, 3));
            let extent = (tap - 1) * dilation + 1;
            let (begin, end) = (pick(&mut rng, 0, extent + 1), pick(&mut rng, 0, 3));
            let least = extent.saturating_sub(begin + end).max(1);
            let size = pick(&mut rng, least, least + 20 / rank);
            y.push((size + begin + end - extent) / stride + 1);
            x.push(size);
            w.push(tap);
            strides.push(stride as i64);
            dilations.push(dilation as i64);
            begins.push(begin);
            ends.push(end);
        }
        let pads: Vec<Dim> = begins.into_iter().chain(ends).map(Dim::from).collect();
        let output: Vec<usize> = [x[0], w[0]].into_iter().chain(y).collect();
        let dims = |s: &[usize]| s[2..].iter().map(|&d| Dim::from(d)).collect::<Vec<_>>();
        let group = group as i64;
        let case = |name: &str| format!("{name} {i} x {x:?} w {w:?} {strides:?} {pads:?} {dilations:?} {group}");
        let views = [View::Contiguous, View::Transposed, View::Strided];
        let input = |s: &[usize]| CaseInput::new(DType::F64, s).view(views[i % 3]);
        let op = Conv { strides: strides.clone(), pads: pads.clone(), dilations: dilations.clone(), group };
        let mut inputs = vec![input(&x), input(&w)];
        if i % 2 == 0 {
            inputs.push(input(&w[..1]));
        }
        check(&Case::new(case("conv"), &op, inputs));
        let Conv { strides, pads, dilations, .. } = op.clone();
        let op = ConvInputGrad { input: dims(&x), strides, pads, dilations, group };
        check(&Case::new(case("input grad"), &op, vec![input(&output), input(&w)]));
        let ConvInputGrad { strides, pads, dilations, .. } = op.clone();
        let op = ConvWeightGrad { kernel: dims(&w), strides, pads, dilations, group };
        check(&Case::new(case("weight grad"), &op, vec![input(&x), input(&output)]));
    }
}
