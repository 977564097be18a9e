//! Compiles the runtime's sources with loom's primitives.

fn main() {
    println!("cargo::rustc-cfg=loom");
    // The features of the runtime, which are off here.
    println!("cargo::rustc-check-cfg=cfg(feature, values(\"futures-core\", \"futures-io\", \"tokio\"))");
    println!("cargo::rerun-if-changed=build.rs");
}
