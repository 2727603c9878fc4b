//! Bytes as an ONNX model: read, compiled and run, with a result or a typed error.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    lampyr_conformance::fuzz::read_and_run(bytes, 0);
});
