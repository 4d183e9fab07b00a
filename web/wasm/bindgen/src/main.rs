//! `offhook-wasm-bindgen MODULE.wasm FOLDER` generates the JavaScript of a module, for a page.
//!
//! It does the same as wasm-bindgen's own program with `--target web`, and nothing else.

use std::error::Error;

use wasm_bindgen_cli_support::Bindgen;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(module), Some(folder)) = (arguments.next(), arguments.next()) else {
        return Err("usage: offhook-wasm-bindgen MODULE.wasm FOLDER".into());
    };
    let mut bindgen = Bindgen::new();
    bindgen.input_path(module).web(true)?.typescript(false);
    bindgen.generate(folder)?;
    Ok(())
}
