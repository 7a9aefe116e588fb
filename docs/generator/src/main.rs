//! `cargo xtask docs [--check]`.

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let check = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => false,
        ["--check"] => true,
        _ => anyhow::bail!("cargo xtask docs [--check]"),
    };
    for path in holon_book::run(check)? {
        println!("wrote {}", path.display());
    }
    Ok(())
}
