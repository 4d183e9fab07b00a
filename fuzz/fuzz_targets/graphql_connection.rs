#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| offhook_fuzz::graphql::graphql_connection(data));

#[cfg(not(fuzzing))]
fn main() {}
