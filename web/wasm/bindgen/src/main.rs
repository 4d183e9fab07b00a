//! `offhook-wasm-bindgen MODULE.wasm FOLDER`: makes the JavaScript beside a module, for a page.
//!
//! It is what wasm-bindgen's own program does with `--target web`, without all else that it can.

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
