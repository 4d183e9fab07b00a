//! Writes the site into a folder, for any web server: `cargo run -p offhook-docs -- FOLDER`.

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = env::args_os().nth(1).map(PathBuf::from);
    let folder = folder.ok_or("expected the folder to write the site into")?;
    for name in offhook_docs::names() {
        let file = offhook_docs::file(&name).ok_or_else(|| format!("{name}: no such page"))?;
        let path = folder.join(&file.name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, &file.content)?;
    }
    Ok(())
}
