//! Registers the hub's schema, so that the gateway's operations are compiled against it.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    cynic_codegen::register_schema("hub").from_sdl_file("../schema.graphql")?.as_default()?;
    println!("cargo:rerun-if-changed=../schema.graphql");
    Ok(())
}
