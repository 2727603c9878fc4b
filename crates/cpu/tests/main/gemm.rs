//! Products of matrices against a plain loop, and the same bits for any number of threads and on every SIMD tier.

use lampyr_base::pool::ThreadPool;
use lampyr_base::{bf16, f16};
use lampyr_cpu::gemm::{
    Batch, Compute, IntMatrix, PackedMatrix, Plan, Problem, Ready, Side, Start, Store, Strided, int_matmul, run,
};
use lampyr_cpu::simd::Tier;
use lampyr_ir::case::SplitMix;

/// How a matrix lies in memory.
#[derive(Clone, Copy, Debug)]
enum Order {
    Rows,
    Columns,
    Spread,
}

struct Matrix<S> {
    data: Vec<S>,
    row: isize,
    column: isize,
    size: usize,
}

fn matrix<S: Store<E>, E: From<f32>>(
    rng: &mut SplitMix,
    batch: usize,
    rows: usize,
    columns: usize,
    order: Order,
) -> Matrix<S> {
    let (row, column, size) = match order {
        Order::Rows => (columns, 1, rows * columns),
        Order::Columns => (1, rows, rows * columns),
        Order::Spread => (3 * columns + 1, 2, rows * (3 * columns + 1)),
    };
    let data = (0..(batch * size).max(1)).map(|_| S::put(E::from(rng.unit() as f32 * 2.0 - 1.0))).collect();
    Matrix { data, row: row as isize, column: column as isize, size }
}

impl<S: Copy> Matrix<S> {
    fn at(&self, batch: usize, i: usize, j: usize) -> S {
        self.data[batch * self.size + i * self.row as usize + j * self.column as usize]
    }

    fn left(&self, batch: usize) -> Strided<S> {
        Strided {
            data: self.data.as_ptr(),
            outer: self.row,
            inner: self.column,
            batch: Batch::new(&[batch], &[self.size as isize]),
        }
    }

    fn right(&self, batch: usize) -> Strided<S> {
        Strided {
            data: self.data.as_ptr(),
            outer: self.column,
            inner: self.row,
            batch: Batch::new(&[batch], &[self.size as isize]),
        }
    }
}

struct Bias(f64);

impl<E: From<f32> + Send> Start<E> for Bias {
    fn fill(&self, _batch: usize, row: usize, column: usize, to: &mut [E]) {
        for (j, x) in to.iter_mut().enumerate() {
            *x = E::from((self.0 * ((row + column + j) % 7) as f64) as f32);
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Shape {
    batch: usize,
    m: usize,
    n: usize,
    k: usize,
    orders: (Order, Order),
    packed: (bool, bool),
    bias: bool,
}

fn multiply<E: Compute + From<f32>, S: Store<E>>(
    tier: Tier,
    pool: &ThreadPool,
    s: Shape,
    a: &Matrix<S>,
    b: &Matrix<S>,
) -> Vec<S> {
    let (left, right) = (a.left(s.batch), b.right(s.batch));
    let left_packed = PackedMatrix::left(tier, &left, s.batch, s.m, s.k).expect("packed");
    let right_packed = PackedMatrix::right(tier, &right, s.batch, s.n, s.k).expect("packed");
    let ready = |packed, direct| match (packed, direct) {
        (true, _) => Ready::Packed,
        (false, true) => Ready::Direct,
        _ => Ready::No,
    };
    let direct = S::SAME && matches!(s.orders.1, Order::Rows);
    let plan =
        Plan::new::<E>(tier, (s.batch, s.m, s.n, s.k), (ready(s.packed.0, false), ready(s.packed.1, direct)), !S::SAME);
    let mut c = vec![S::put(E::from(f32::NAN)); s.batch * s.m * s.n];
    let mut workspace = vec![E::from(f32::NAN); plan.workspace(pool.num_threads())];
    let problem = Problem {
        left: if s.packed.0 { Side::Packed(&left_packed) } else { Side::Operand(&left) },
        right: if s.packed.1 { Side::Packed(&right_packed) } else { Side::Operand(&right) },
        c: c.as_mut_ptr(),
        c_step: s.n,
        c_batch: s.m * s.n,
        alpha: E::from(0.5),
        start: if s.bias { Some(&Bias(0.25)) } else { None },
        sink: None,
        epilogue: None,
    };
    // SAFETY: the matrices have the sizes of the plan and the workspace the size it asked for.
    unsafe { run(tier, &plan, &problem, pool, (workspace.as_mut_ptr(), workspace.len())) };
    c
}

fn check<E: Compute + From<f32> + Into<f64>, S: Store<E> + PartialEq + std::fmt::Debug>(s: Shape, tolerance: f64) {
    let mut rng = SplitMix((s.m * 131 + s.n * 17 + s.k) as u64);
    let a: Matrix<S> = matrix(&mut rng, s.batch, s.m, s.k, s.orders.0);
    let b: Matrix<S> = matrix(&mut rng, s.batch, s.k, s.n, s.orders.1);
    let get = |x: S| -> f64 { x.get().into() };
    let mut first: Option<Vec<S>> = None;
    for tier in Tier::available() {
        for threads in [1, 2, 3] {
            let pool = ThreadPool::new(threads);
            let c = multiply(tier, &pool, s, &a, &b);
            let Some(first) = &first else {
                for (at, &x) in c.iter().enumerate() {
                    let (batch, i, j) = (at / (s.m * s.n), at / s.n % s.m, at % s.n);
                    let sum: f64 = (0..s.k).map(|p| get(a.at(batch, i, p)) * get(b.at(batch, p, j))).sum();
                    let want = 0.5 * sum + if s.bias { 0.25 * ((i + j) % 7) as f64 } else { 0.0 };
                    let bound = tolerance * (1.0 + (s.k as f64).sqrt());
                    assert!(
                        (get(x) - want).abs() <= bound * (1.0 + want.abs()),
                        "{s:?} {tier:?} at {i},{j}: {} {want}",
                        get(x)
                    );
                }
                first = Some(c);
                continue;
            };
            assert!(*first == c, "{s:?}: {tier:?} with {threads} threads gives other bits");
        }
    }
}

const SHAPES: &[(usize, usize, usize, usize)] = &[
    (1, 1, 1, 1),
    (1, 0, 3, 4),
    (1, 3, 0, 4),
    (1, 3, 4, 0),
    (0, 3, 4, 2),
    (1, 1, 100, 33),
    (1, 37, 1, 300),
    (1, 5, 7, 3),
    (3, 13, 33, 17),
    (1, 12, 32, 256),
    (1, 25, 65, 257),
    (1, 64, 64, 513),
    (40, 4, 5, 6),
    (1, 300, 70, 40),
    (1, 70, 700, 40),
    (2, 150, 210, 300),
    (2, 113, 64, 300),
];

#[test]
fn matches_a_plain_loop() {
    let orders = [
        (Order::Rows, Order::Rows),
        (Order::Columns, Order::Rows),
        (Order::Rows, Order::Columns),
        (Order::Spread, Order::Spread),
    ];
    for (i, &(batch, m, n, k)) in SHAPES.iter().enumerate() {
        for (j, &orders) in orders.iter().enumerate() {
            for packed in [(false, false), (true, false), (false, true)] {
                let s = Shape { batch, m, n, k, orders, packed, bias: (i + j) % 2 == 0 };
                check::<f32, f32>(s, 1e-6);
            }
            let s = Shape { batch, m, n, k, orders, packed: (false, false), bias: (i + j) % 2 == 1 };
            check::<f64, f64>(s, 1e-14);
            check::<f32, f16>(s, 1e-3);
            check::<f32, bf16>(s, 8e-3);
        }
    }
}

#[test]
fn blocks_of_the_contraction_follow_each_other() {
    let (batch, m, n, k) = (1, 345, 516, 525);
    for orders in [(Order::Rows, Order::Rows), (Order::Columns, Order::Columns)] {
        for packed in [false, true] {
            let s = Shape { batch, m, n, k, orders, packed: (false, packed), bias: packed };
            check::<f32, f32>(s, 1e-6);
        }
    }
    let s = Shape { batch: 2, m, n, k, orders: (Order::Rows, Order::Spread), packed: (false, false), bias: true };
    check::<f32, f32>(s, 1e-6);
}

#[test]
fn integers_wrap() {
    let (m, n, k) = (3, 5, 4);
    let a: Vec<i8> = (0..m * k).map(|i| (i * 37 % 251) as i8).collect();
    let b: Vec<i8> = (0..k * n).map(|i| (i * 91 % 241) as i8).collect();
    let mut c = vec![0i8; m * n];
    let left = IntMatrix { data: a.as_ptr(), row: k as isize, column: 1, batch: Batch::default() };
    let right = IntMatrix { data: b.as_ptr(), row: 1, column: k as isize, batch: Batch::default() };
    // SAFETY: the slices have the sizes given.
    unsafe { int_matmul((1, m, n, k), &left, &right, c.as_mut_ptr(), &ThreadPool::new(2)) };
    for i in 0..m {
        for j in 0..n {
            let want = (0..k).fold(0i8, |s, p| s.wrapping_add(a[i * k + p].wrapping_mul(b[j * k + p])));
            assert_eq!(c[i * n + j], want);
        }
    }
}

fn best_of(mut f: impl FnMut()) -> f64 {
    f();
    (0..7)
        .map(|_| {
            let start = std::time::Instant::now();
            f();
            start.elapsed().as_secs_f64()
        })
        .fold(f64::MAX, f64::min)
}

/// `cargo test -p lampyr-cpu --release -- --ignored --nocapture gflops`
#[test]
#[ignore = "a measurement"]
fn gflops_of_products() {
    let tier = Tier::current();
    let pools = [ThreadPool::new(1), ThreadPool::new(2)];
    let sizes = [256, 512, 1024, 2048].map(|n| (1, n, n, n));
    let more = [
        (1, 1, 4096, 4096),
        (1, 8, 4096, 4096),
        (1, 32, 1024, 4096),
        (1, 128, 768, 3072),
        (12, 128, 128, 64),
        (1, 64, 12544, 147),
        (1, 512, 49, 4608),
    ];
    for (batch, m, n, k) in sizes.into_iter().chain(more) {
        let mut rng = SplitMix(1);
        let a: Matrix<f32> = matrix(&mut rng, batch, m, k, Order::Rows);
        let b: Matrix<f32> = matrix(&mut rng, batch, k, n, Order::Rows);
        let bt: Matrix<f32> = matrix(&mut rng, batch, k, n, Order::Columns);
        let flops = 2.0 * (batch * m * n * k) as f64;
        print!("{batch}x {m} x {n} x {k}:");
        for pool in &pools {
            for (name, b, ready) in [
                ("", &b, (Ready::No, Ready::Direct)),
                ("b packed", &b, (Ready::No, Ready::Packed)),
                ("a packed", &b, (Ready::Packed, Ready::Direct)),
                ("b transposed", &bt, (Ready::No, Ready::No)),
            ] {
                let (left, right) = (a.left(batch), b.right(batch));
                let left_packed = PackedMatrix::left(tier, &left, batch, m, k).expect("packed");
                let right_packed = PackedMatrix::right(tier, &right, batch, n, k).expect("packed");
                let plan = Plan::new::<f32>(tier, (batch, m, n, k), ready, false);
                let mut c = vec![0f32; batch * m * n];
                let mut workspace = vec![0f32; plan.workspace(pool.num_threads())];
                let problem = Problem {
                    left: if ready.0 == Ready::Packed { Side::Packed(&left_packed) } else { Side::Operand(&left) },
                    right: if ready.1 == Ready::Packed { Side::Packed(&right_packed) } else { Side::Operand(&right) },
                    c: c.as_mut_ptr(),
                    c_step: n,
                    c_batch: m * n,
                    alpha: 1.0,
                    start: None,
                    sink: None,
                    epilogue: None,
                };
                // SAFETY: sizes as planned.
                let time =
                    best_of(|| unsafe { run(tier, &plan, &problem, pool, (workspace.as_mut_ptr(), workspace.len())) });
                print!("  {name} {:.0}", flops / time * 1e-9);
            }
            print!(" |");
        }
        println!();
    }
}
