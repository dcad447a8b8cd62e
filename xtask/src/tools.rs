//! Installs what the tests and the benchmarks need where it is missing, and says what it installs.
//!
//! There are two sources only: Debian packages through apt, and Go programs through `go install`, each at
//! one fixed version. Go programs go into a folder of the user's cache that all checkouts share; a binary
//! carries its own module version, so a version changed here is installed anew and nothing else is. What is no
//! program of its own, the test that needs it installs: see `test_kit::oidc_provider`.

use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a tool is wanted for; benchmarks need everything that tests need.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// `cargo xtask test`
    Test,
    /// `cargo xtask bench`
    Bench,
}

/// A program that comes with a Debian package.
struct Packaged {
    program: &'static str,
    package: &'static str,
    purpose: Purpose,
}

/// A program that is a Go module.
struct GoTool {
    program: &'static str,
    package: &'static str,
    version: &'static str,
    /// The Go release it needs where that is newer than the one expected on the machine.
    toolchain: Option<&'static str>,
    purpose: Purpose,
}

const PACKAGED: &[Packaged] = &[
    packaged("curl", "curl", Purpose::Test),
    packaged("openssl", "openssl", Purpose::Test),
    packaged("skopeo", "skopeo", Purpose::Test),
    packaged("podman", "podman", Purpose::Test),
    packaged("buildah", "buildah", Purpose::Test),
    packaged("runc", "runc", Purpose::Test),
    packaged("crun", "crun", Purpose::Test),
    packaged("containerd", "containerd", Purpose::Test),
    packaged("ctr", "containerd", Purpose::Test),
    packaged("dockerd", "docker.io", Purpose::Test),
    // By its path: another `docker` earlier on PATH may be of another age than the daemon.
    packaged("/usr/bin/docker", "docker.io", Purpose::Test),
    packaged("nginx", "nginx-light", Purpose::Test),
    packaged("node", "nodejs", Purpose::Test),
    packaged("npm", "npm", Purpose::Test),
    packaged("chromium", "chromium", Purpose::Test),
    packaged("fusermount3", "fuse3", Purpose::Test),
    packaged("slapd", "slapd", Purpose::Test),
    packaged("ldapmodify", "ldap-utils", Purpose::Test),
    // The upstream of mirrors, and a rival.
    packaged("docker-registry", "docker-registry", Purpose::Test),
];

const GO_TOOLS: &[GoTool] = &[
    go_tool("crane", "github.com/google/go-containerregistry/cmd/crane", "v0.22.1", Purpose::Test),
    go_tool("crictl", "sigs.k8s.io/cri-tools/cmd/crictl", "v1.34.0", Purpose::Test),
    go_tool("oras", "oras.land/oras/cmd/oras", "v1.3.6", Purpose::Test),
    GoTool {
        toolchain: Some("go1.27.3"),
        ..go_tool("helm", "helm.sh/helm/v4/cmd/helm", "v4.3.1", Purpose::Test)
    },
    go_tool(
        "conformance",
        "github.com/opencontainers/distribution-spec/conformance",
        "v0.0.0-20260831232431-97274622c111",
        Purpose::Test,
    ),
    go_tool("registry", "github.com/distribution/distribution/v3/cmd/registry", "v3.1.1", Purpose::Bench),
];

const fn packaged(program: &'static str, package: &'static str, purpose: Purpose) -> Packaged {
    Packaged { program, package, purpose }
}

const fn go_tool(
    program: &'static str,
    package: &'static str,
    version: &'static str,
    purpose: Purpose,
) -> GoTool {
    GoTool { program, package, version, toolchain: None, purpose }
}

/// Makes sure that everything wanted for `purpose` is there; returns the folder of the Go programs.
pub fn install(purpose: Purpose) -> Result<PathBuf> {
    install_packages(purpose)?;
    let folder = folder()?;
    install_go_tools(purpose, &folder)?;
    Ok(folder)
}

/// The folder of the Go programs, shared by all checkouts of this user.
pub fn folder() -> Result<PathBuf> {
    let cache = match std::env::var_os("XDG_CACHE_HOME") {
        Some(cache) if !cache.is_empty() => PathBuf::from(cache),
        _ => PathBuf::from(std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?)
            .join(".cache"),
    };
    Ok(cache.join("wharf/tools/bin"))
}

fn install_packages(purpose: Purpose) -> Result<()> {
    let wanted = || PACKAGED.iter().filter(|tool| tool.purpose <= purpose);
    let mut packages: Vec<&str> =
        wanted().filter(|tool| find(tool.program).is_none()).map(|tool| tool.package).collect();
    packages.dedup();
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    ensure!(
        fs::metadata("/proc/self")?.uid() == 0,
        "Debian packages are missing; install them as root: apt-get install --no-install-recommends {list}"
    );
    println!("xtask: installing the Debian packages {list}");
    apt(&["update", "-qq"])?;
    apt(&[&["install", "-qq", "-y", "--no-install-recommends"], packages.as_slice()].concat())?;
    for tool in wanted() {
        ensure!(
            find(tool.program).is_some(),
            "the package {} is installed, yet there is no program {} on PATH",
            tool.package,
            tool.program
        );
    }
    Ok(())
}

fn apt(args: &[&str]) -> Result<()> {
    run(Command::new("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive"))
}

fn install_go_tools(purpose: Purpose, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    // Two checkouts may test at once: one installs, the other waits and then finds it done.
    let lock = File::create(folder.with_file_name("lock"))?;
    lock.lock().context("cannot lock the tools folder")?;
    for tool in GO_TOOLS.iter().filter(|tool| tool.purpose <= purpose) {
        if is_installed(tool, folder) {
            continue;
        }
        println!("xtask: installing {} {} with go install", tool.program, tool.version);
        let mut go = Command::new("go");
        go.args(["install", &format!("{}@{}", tool.package, tool.version)]);
        go.env("GOBIN", folder).env("CGO_ENABLED", "0").current_dir(folder);
        if let Some(toolchain) = tool.toolchain {
            go.env("GOTOOLCHAIN", toolchain);
        }
        run(&mut go).context("Go 1.26 or later is needed on PATH")?;
        ensure!(is_installed(tool, folder), "{} was installed, yet is not as wanted", tool.program);
    }
    Ok(())
}

/// Asks the binary itself which package at which version it was built from.
fn is_installed(tool: &GoTool, folder: &Path) -> bool {
    let binary = folder.join(tool.program);
    let Ok(output) = Command::new("go").arg("version").arg("-m").arg(binary).output() else { return false };
    let text = String::from_utf8_lossy(&output.stdout);
    let field = |key: &str, index: usize| {
        let line = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        line.filter(|words| words.first() == Some(&key)).find_map(|words| words.get(index).copied())
    };
    field("path", 1) == Some(tool.package) && field("mod", 2) == Some(tool.version)
}

/// Where a program is, on PATH or in the system folders that PATH of an ordinary user lacks.
fn find(program: &str) -> Option<PathBuf> {
    if program.starts_with('/') {
        return Some(PathBuf::from(program)).filter(|path| path.is_file());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Runs a command with its output shown; fails unless it succeeds.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    if !status.success() {
        bail!("{command:?} failed: {status}");
    }
    Ok(())
}
