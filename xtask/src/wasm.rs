//! Building guests: with rustup's `wasm32-unknown-unknown` where it is installed, else with Debian's Rust for the web.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{cargo, root};

const TARGET: &str = "wasm32-unknown-unknown";

/// Processes that are shipped, as their packages in `wasm-processes`.
const GUESTS: [&str; 8] = ["chatroom", "counter", "price-board", "registry", "relay", "swap", "ticker", "token"];

const NO_TOOLCHAIN: &str = "\
No toolchain for wasm32-unknown-unknown was found. Install one of
  rustup target add wasm32-unknown-unknown
  apt-get install --no-install-recommends rustc-web cargo-web rust-web-src lld-19    (Debian, where rustup has no targets)
Nothing else of this project needs it: the built modules are part of the repository.";

/// Builds every guest and puts it next to its source.
pub fn build() -> Result<()> {
    for guest in compile()? {
        fs::copy(&guest.built, &guest.committed)
            .with_context(|| format!("cannot write {}", guest.committed.display()))?;
        println!("{}: {} bytes", guest.committed.display(), fs::metadata(&guest.committed)?.len());
    }
    Ok(())
}

/// Builds every guest and compares it with the one next to its source: the bytes, and where another compiler made other
/// bytes, what the two answer to the same messages.
pub fn check() -> Result<()> {
    for guest in compile()? {
        let name = guest.name;
        let committed =
            fs::read(&guest.committed).with_context(|| format!("cannot read {}", guest.committed.display()))?;
        if fs::read(&guest.built)? == committed {
            println!("{name}: the same bytes");
            continue;
        }
        println!("{name}: other bytes than the committed module, comparing behaviour");
        let status = Command::new(cargo())
            .current_dir(root())
            .args(["run", "-q", "-p", "holon-benches", "--bin", "same-behaviour", "--"])
            .args([&guest.committed, &guest.built])
            .status()?;
        ensure!(
            status.success(),
            "{name}: the committed module does not behave like its source. Run `cargo xtask wasm` and commit the result."
        );
        println!("{name}: the same behaviour");
    }
    Ok(())
}

struct Guest {
    name: &'static str,
    built: PathBuf,
    committed: PathBuf,
}

fn compile() -> Result<Vec<Guest>> {
    let toolchain = Toolchain::find().context(NO_TOOLCHAIN)?;
    println!("building with {}", toolchain.described());
    let workspace = root().join("wasm-processes");
    let target = root().join("target").join("guest");
    // First, so that the folders of the sources exist when their names are taken out of the modules.
    let status = Command::new(cargo()).current_dir(&workspace).args(["fetch", "--locked"]).status()?;
    ensure!(status.success(), "the sources of the guests' dependencies cannot be fetched");
    let mut command = toolchain.cargo();
    command
        .current_dir(&workspace)
        .args(["build", "--release", "--locked", "--target", TARGET])
        .args(GUESTS.iter().flat_map(|guest| ["-p", guest]))
        .env("CARGO_TARGET_DIR", &target)
        .env("RUSTFLAGS", toolchain.flags()?);
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(status.success(), "the guests do not compile");
    Ok(GUESTS
        .into_iter()
        .map(|name| Guest {
            name,
            // Cargo writes an underscore for a hyphen.
            built: target.join(TARGET).join("release").join(format!("{}.wasm", name.replace('-', "_"))),
            committed: workspace.join(name).join(format!("{name}.wasm")),
        })
        .collect())
}

enum Toolchain {
    /// The toolchain in use has the target's standard library.
    Rustup,
    /// Debian's compiler, which builds the standard library from its own source. The folder holds `rustc` and `cargo`.
    Debian(PathBuf),
}

impl Toolchain {
    fn find() -> Option<Self> {
        let installed = Command::new(rustc())
            .args(["--print", "target-libdir", "--target", TARGET])
            .output()
            .ok()
            .filter(|output| output.status.success())
            .is_some_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir());
        if installed {
            return Some(Self::Rustup);
        }
        let files = Command::new("dpkg").args(["-L", "rustc-web"]).output().ok()?;
        let files = String::from_utf8_lossy(&files.stdout);
        let compiler = Path::new(files.lines().find(|file| file.ends_with("/bin/rustc"))?);
        Some(Self::Debian(compiler.parent()?.to_owned()))
    }

    fn described(&self) -> String {
        match self {
            Self::Rustup => format!("the installed {TARGET} target of {}", version(&rustc())),
            Self::Debian(bin) => {
                format!("Debian's {}, standard library from source", version(&bin.join("rustc")))
            }
        }
    }

    fn cargo(&self) -> Command {
        match self {
            Self::Rustup => Command::new(cargo()),
            Self::Debian(bin) => {
                let mut command = Command::new(bin.join("cargo"));
                // The versions of these variables that rustup's proxy set would lead back to rustup's toolchain.
                for name in ["RUSTUP_TOOLCHAIN", "RUSTC_WRAPPER", "CARGO", "RUSTDOC"] {
                    command.env_remove(name);
                }
                command
                    .env("RUSTC", bin.join("rustc"))
                    .env("RUSTC_BOOTSTRAP", "1")
                    .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", "wasm-ld-19")
                    .arg("-Zbuild-std=std,panic_abort");
                command
            }
        }
    }

    /// Paths of the machine do not belong into a module: they would be in its panic messages.
    fn flags(&self) -> Result<String> {
        let home = env::var_os("CARGO_HOME")
            .map(PathBuf::from)
            .or_else(|| env::home_dir().map(|home| home.join(".cargo")))
            .context("neither CARGO_HOME nor a home directory is set")?;
        let compiler = match self {
            Self::Rustup => rustc(),
            Self::Debian(bin) => bin.join("rustc"),
        };
        let output = Command::new(&compiler).args(["--print", "sysroot"]).output()?;
        let sysroot = String::from_utf8(output.stdout)?;
        let mut names = vec![(root(), "holon"), (PathBuf::from(sysroot.trim()), "rust"), (home.clone(), "cargo")];
        for registry in fs::read_dir(home.join("registry").join("src")).into_iter().flatten() {
            names.push((registry?.path(), "crates"));
        }
        // Of several that match, the compiler takes the last.
        let mut flags = Vec::new();
        for (path, name) in names {
            let path = path.to_str().context("a path is not UTF-8")?;
            if path.contains(' ') {
                bail!("the path \"{path}\" contains a space, which RUSTFLAGS cannot hold");
            }
            flags.push(format!("--remap-path-prefix={path}=/{name}"));
        }
        Ok(flags.join(" "))
    }
}

fn version(rustc: &Path) -> String {
    Command::new(rustc)
        .arg("--version")
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_else(|_| "rustc".to_owned())
}

fn rustc() -> PathBuf {
    env::var_os("RUSTC").map_or_else(|| PathBuf::from("rustc"), PathBuf::from)
}
