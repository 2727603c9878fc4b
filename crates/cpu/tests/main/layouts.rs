use lampyr_backend::Backend;
use lampyr_base::{DType, Layout};
use lampyr_ir::HostTensor;

use crate::harness::{Tensor, report};

fn layouts(shape: &[usize]) -> Vec<(Vec<usize>, Layout)> {
    let rank = shape.len();
    let plain = Layout::contiguous(shape);
    let mut all = vec![(shape.to_vec(), plain.clone())];
    for order in [(0..rank).rev().collect::<Vec<_>>(), (0..rank).map(|i| (i + 1) % rank).collect()] {
        let mut base = vec![0; rank];
        order.iter().enumerate().for_each(|(i, &a)| base[a] = shape[i]);
        let layout = Layout::contiguous(&base).permute(&order);
        all.push((base, layout));
    }
    let last = rank - 1;
    let wide: Vec<usize> = shape.iter().enumerate().map(|(i, &d)| if i == last { 2 * d + 1 } else { d }).collect();
    all.push((wide.clone(), Layout::contiguous(&wide).slice(last, 1, 2, shape[last])));
    all.push((shape.to_vec(), plain.slice(last, shape[last] - 1, -1, shape[last])));
    all
}

#[test]
fn copies_between_all_layouts() {
    let backend = lampyr_cpu::backend();
    let mut findings = Vec::new();
    for dtype in [DType::U8, DType::F16, DType::F32, DType::I64] {
        for shape in [&[3, 5][..], &[37, 41], &[2, 3, 4], &[5, 1, 33, 20], &[600, 500]] {
            if shape[0] == 600 && dtype != DType::F32 {
                continue;
            }
            let n: usize = shape.iter().product();
            let numbers: Vec<i64> = (0..2 * n as i64 + 600).map(|i| i % 251).collect();
            let mut sources = layouts(shape);
            let mut one = shape.to_vec();
            one[0] = 1;
            sources.push((one.clone(), Layout::contiguous(&one).broadcast_to(shape).unwrap()));
            for (i, (base, from)) in sources.into_iter().enumerate() {
                let count: usize = base.iter().product();
                let storage = HostTensor::from_i64(dtype, &base, &numbers[..count]).unwrap();
                let source = Tensor::upload(&storage, from);
                for (j, (base, to)) in layouts(shape).into_iter().enumerate() {
                    let target = Tensor { layout: to, ..Tensor::empty(dtype, &base) };
                    backend.copy(&source.arg(), &target.arg()).unwrap();
                    if target.download() != source.download() {
                        findings.push(format!("{dtype} {shape:?}: {i} to {j}"));
                    }
                }
            }
        }
    }
    report(findings);
}

#[test]
fn copies_are_checked() {
    let backend = lampyr_cpu::backend();
    let (a, b) = (Tensor::empty(DType::F32, &[4]), Tensor::empty(DType::F32, &[5]));
    assert!(backend.copy(&a.arg(), &b.arg()).is_err(), "shapes differ");
    let long = Tensor { layout: Layout::contiguous(&[5]), ..a.clone() };
    assert!(backend.copy(&long.arg(), &b.arg()).is_err(), "source too small");
    assert!(backend.copy(&b.arg(), &long.arg()).is_err(), "target too small");
    assert!(backend.upload(&[0; 17], &a.memory, 0).is_err());
    assert!(backend.download(&a.memory, 9, &mut [0; 8]).is_err());
}

#[test]
fn memory_is_capped_and_counted() {
    let backend = lampyr_cpu::CpuBackend::new(lampyr_base::alloc::CachingAllocator::leak(Some(1 << 20)));
    let memory = backend.allocate(1000).unwrap();
    assert!(memory.host_ptr().unwrap().as_ptr().cast::<u8>().align_offset(64) == 0);
    assert!(backend.memory_stats().active_bytes >= 1000);
    assert!(backend.allocate(2 << 20).is_err());
    backend.set_memory_limit(None);
    assert!(backend.allocate(2 << 20).is_ok());
    backend.trim();
    assert!(backend.allocate(0).unwrap().is_empty());
}
