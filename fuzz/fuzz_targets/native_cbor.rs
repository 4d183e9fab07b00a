#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| offhook_fuzz::native_cbor::native_cbor(data));

#[cfg(not(fuzzing))]
fn main() {}
