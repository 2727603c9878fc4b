use lampyr_base::{DType, Device};
use lampyr_compiler::tuning::Tuning;
use lampyr_ir::Fact;
use lampyr_ops::build::{Add, Mul};

#[test]
fn a_saved_file_loads_again() {
    let path = std::env::temp_dir().join(format!("lampyr-tuning-test-{}", std::process::id()));
    let fact = Fact::fixed(DType::F32, &[2, 3]);
    let mut tuning = Tuning::load(&path).unwrap();
    assert!(tuning.is_empty());
    tuning.note(Device::CPU, &Add, &[&fact, &fact], 2e-6);
    tuning.note(Device::CPU, &Add, &[&fact, &fact], 1e-6);
    tuning.note(Device::CPU, &Mul, &[&fact, &fact], 3e-6);
    tuning.save(&path).unwrap();
    let again = Tuning::load(&path).unwrap();
    assert_eq!(again, tuning);
    assert_eq!(again.seconds(Device::CPU, &Add, &[&fact, &fact]), Some(1e-6));
    assert_eq!(again.seconds(Device::CPU, &Add, &[&fact]), None);
    std::fs::write(&path, "lampyr-tuning 0\nold").unwrap();
    assert!(Tuning::load(&path).unwrap().is_empty());
    std::fs::write(&path, "lampyr-tuning 1\ncpu\tadd\tx\tsoon\n").unwrap();
    assert!(Tuning::load(&path).is_err());
    std::fs::remove_file(&path).unwrap();
}
