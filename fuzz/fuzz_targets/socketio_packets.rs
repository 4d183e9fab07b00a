#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| offhook_fuzz::socketio::socketio_packets(data));

#[cfg(not(fuzzing))]
fn main() {}
