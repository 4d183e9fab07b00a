//! Replays every input of the fuzzing corpora through the same function as when it was found.

use std::fs;
use std::path::Path;

use offhook_testkit::fuzz::TARGETS;

#[test]
fn every_committed_input_passes_its_fuzz_target() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (name, target) in TARGETS {
        let corpus = fs::read_dir(corpora.join(name)).expect(name);
        let mut inputs = 0;
        for entry in corpus {
            let path = entry.expect(name).path();
            // Printed only when it fails: the name of the input.
            println!("{}", path.display());
            target(&fs::read(&path).expect(name));
            inputs += 1;
        }
        assert!(inputs > 0, "the corpus of {name} is empty");
    }
}
